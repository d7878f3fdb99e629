"""Streams of the real llama.cpp: a copy says what the original says, by whichever way it came."""

import os

import pytest
from real_model import demo_path, plan

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.batch import Batch, Copy, Forget, Row, Start, Trim
from edgellm.runner.llama.backend import LlamaBackend

pytestmark = pytest.mark.model

TEXT = tuple(range(300, 500))
GREEDY = GenerateParams(SamplingParams(temperature=0), 1, logprobs=3)
by_blob, whole_stream = 60, 150  # tokens in a stream of 256 cells: less than half of it, and more
either_way = pytest.mark.parametrize("n_used", [by_blob, whole_stream])


@pytest.fixture
def backend():
    choices = {"n_ctx": 1024, "n_ctx_seq": 256, "n_parallel": 4, "n_seq_max": 4}
    path = os.fsencode(demo_path())
    return LlamaBackend(path, plan(kv_unified=False, **choices), lambda ratio: None)


def start(seq_id):
    return Start(seq_id, seq_id, GREEDY, ())


def rows(seq_id, first, last, text=TEXT):
    return tuple(Row(seq_id, pos, text[pos], pos == last - 1) for pos in range(first, last))


def compute(backend, seq_id, n, text=TEXT):
    backend.decode(Batch((start(seq_id),), rows(seq_id, 0, n, text), n))


def said(backend, *ops, batch_rows):
    sampled = backend.decode(Batch(ops, batch_rows, 0)).sampled
    return {seq_id: one.logprob for seq_id, (one,) in sampled.items()}


@either_way
def test_copies_of_a_stream_and_of_a_copy_say_what_the_original_says(backend, n_used):
    compute(backend, 0, n_used)
    ops = (Copy(0, 1, 50), start(1), Copy(1, 2, 40), start(2), Copy(0, 3, 50), start(3))
    told = said(backend, *ops, batch_rows=rows(1, 50, 51) + rows(2, 40, 51) + rows(3, 50, 51))
    said(backend, Trim(0, 50), batch_rows=rows(0, 50, 51))
    original = said(backend, Trim(0, 50), batch_rows=rows(0, 50, 51))[0]
    for copied in told.values():
        assert copied.token == original.token
        assert copied.logprob == pytest.approx(original.logprob, abs=1e-3)


@either_way
def test_what_is_copied_is_what_was_there_when_the_copy_was_asked_for(backend, n_used):
    """A stream that was copied gets another one's contents, and is copied again."""
    other = TEXT[::-1]
    compute(backend, 0, n_used)
    compute(backend, 1, n_used, other)
    ops = (Copy(0, 2, 50), start(2), Forget(0), Copy(1, 0, 50), Copy(0, 3, 50), start(3))
    told = said(backend, *ops, batch_rows=rows(2, 50, 51) + rows(3, 50, 51, other))
    said(backend, Forget(0), Forget(1), batch_rows=rows(0, 0, 50) + rows(1, 0, 50, other))
    originals = said(backend, batch_rows=rows(0, 50, 51) + rows(1, 50, 51, other))
    for copied, original in ((told[2], originals[0]), (told[3], originals[1])):
        assert copied.logprob == pytest.approx(original.logprob, abs=1e-3)
