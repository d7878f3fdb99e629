"""From the real llama.cpp's rows to tokens, with a structure that writes down what it is asked."""

import os
import time

import pytest
from real_model import demo_path, plan

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.batch import Batch, Row, Start, Stop
from edgellm.runner.llama.backend import LlamaBackend

pytestmark = pytest.mark.model

GREEDY = GenerateParams(SamplingParams(temperature=0), 4)


class Asked:
    """Allows one token."""

    complete, fault, took_s = False, None, 0.0

    def __init__(self, token, ahead_s=0.0):
        self._token, self._ahead_s, self.calls = token, ahead_s, []

    def look_ahead(self):
        self.calls.append("look ahead")
        time.sleep(self._ahead_s)

    def apply(self, logits):
        self.calls.append("apply")
        kept = logits[self._token]
        logits.fill(float("-inf"))
        logits[self._token] = kept

    def accept(self, token):
        self.calls.append(f"accept {token}")


@pytest.fixture
def backend():
    return LlamaBackend(os.fsencode(demo_path()), plan(), lambda ratio: None)


def decode(backend, mask, *tokens):
    start = Start(0, 0, GREEDY, tokens, mask)
    rows = tuple(Row(0, pos, token, pos == len(tokens) - 1) for pos, token in enumerate(tokens))
    return backend.decode(Batch((start,), rows, len(rows)))


def test_a_structure_has_its_say_in_every_token_and_its_time_is_told(backend):
    mask = Asked(77)
    step = decode(backend, mask, 5, 6, 7)
    assert [one.token for one in step.sampled[0]] == [77]
    assert mask.calls == ["apply", "accept 77"]
    assert 0 < step.times.mask_s < step.times.sample_s


def test_what_sets_up_a_sampler_is_told_apart_from_the_memory_operations(backend):
    long = GenerateParams(SamplingParams(repeat_penalty=1.1, frequency_penalty=0.1), 4)
    start = Start(0, 0, long, (5, 6, 7))
    step = backend.decode(Batch((start,), (Row(0, 0, 5, True),), 1))
    assert 0 < step.times.set_up_s <= step.times.ops_s
    assert backend.decode(Batch((), (Row(0, 1, 6, True),), 0)).times.set_up_s == 0
    ended = backend.decode(Batch((Stop(0),), (), 0)).times
    assert 0 < ended.set_up_s <= ended.ops_s


def test_while_a_device_computes_structures_look_ahead_when_all_is_told(backend):
    mask = Asked(77)
    backend.while_computing(lambda: mask.calls.append("told"))
    decode(backend, mask, 5, 6, 7)
    assert mask.calls == ["told", "look ahead", "apply", "accept 77"]


def test_what_masks_took_is_told_apart_where_they_ended_after_the_device(backend):
    backend.while_computing(lambda: None)
    times = decode(backend, Asked(77, ahead_s=0.5), 5, 6, 7).times
    assert 0.5 <= times.late_mask_s < times.decode_s
    assert times.mask_s < 0.5


def test_without_a_structure_there_is_nothing_to_look_ahead_to(backend):
    told = []
    backend.while_computing(lambda: told.append(1))
    step = decode(backend, None, 5, 6, 7)
    assert len(step.sampled[0]) == len(told) == 1
    assert step.times.mask_s == 0
    assert step.times.late_mask_s < 0.001


def test_a_context_of_fewer_tokens_than_guesses_would_take_rows_is_loaded():
    few = plan(
        speculate="ngram", n_ctx=4, n_ctx_seq=4, n_parallel=1, n_batch=4, n_ubatch=4, n_seq_max=1
    )
    backend = LlamaBackend(os.fsencode(demo_path()), few, lambda ratio: None)
    assert backend.limits.n_batch == 4
    assert decode(backend, None, 5, 6).sampled[0]
