import math

import numpy as np
import pytest

from edgellm.runner.sampling.logprobs import described, left_logprobs, top_logprobs


def test_logprobs_are_those_of_the_whole_vocabulary():
    logits = np.log(np.array([0.1, 0.6, 0.3], dtype=np.float32)) + 7
    own, top = top_logprobs(logits, 0, 2)
    assert own == pytest.approx(math.log(0.1), abs=1e-5)
    assert [token for token, _ in top] == [1, 2]
    assert [p for _, p in top] == pytest.approx([math.log(0.6), math.log(0.3)], abs=1e-5)
    assert top_logprobs(logits, 2, 0)[1] == []


def test_more_rivals_than_tokens_are_all_of_them():
    assert len(top_logprobs(np.zeros(3, dtype=np.float32), 0, 20)[1]) == 3


def test_what_samplers_left_has_its_own_logprobs():
    ids = np.array([8, 3, 5], dtype=np.int32)
    own, top = left_logprobs(ids, np.array([0.25, 0.75, 0.0], dtype=np.float32), 8, 2)
    assert own == pytest.approx(math.log(0.25))
    assert top == [(3, pytest.approx(math.log(0.75))), (8, pytest.approx(math.log(0.25)))]


def test_a_token_is_told_with_its_bytes():
    told = described(1, (-0.5, [(1, -0.5), (2, -1.0)]), lambda token: b"abc"[token : token + 1])
    assert (told.token, told.piece, told.logprob) == (1, b"b", -0.5)
    assert told.top == ((1, b"b", -0.5), (2, b"c", -1.0))
