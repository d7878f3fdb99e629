"""Streams of the real llama.cpp: a copy says what the original says, by whichever way it came."""

import os

import pytest
from real_model import SHARED_MODELS, demo_path, needs_shared_models, plan

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.batch import Batch, Copy, Forget, RestoreAll, Row, SaveAll, Start, Trim
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


@needs_shared_models
def test_a_conversation_that_was_put_back_is_what_is_copied_from_its_stream():
    """Of a model with windows, whose streams are always copied by way of host memory."""
    path, other = SHARED_MODELS / "tiny-gemma3-q8_0.gguf", TEXT[::-1]
    choices = {"n_ctx": 1024, "n_ctx_seq": 256, "n_parallel": 4, "n_seq_max": 4}
    backend = LlamaBackend(os.fsencode(path), plan(kv_unified=False, **choices), lambda ratio: None)
    text, other = tuple(token % 150 + 30 for token in TEXT), tuple(t % 150 + 30 for t in other)
    compute(backend, 0, 40, text)
    compute(backend, 1, 40, other)
    backend.decode(Batch((SaveAll(1, 7),), (), 0))
    ops = (Copy(0, 2, 40), start(2), Forget(0), RestoreAll(7, 0, other[:40]), Copy(0, 3, 40))
    told = said(backend, *ops, start(3), batch_rows=rows(2, 40, 41, text) + rows(3, 40, 41, other))
    originals = said(backend, batch_rows=rows(1, 40, 41, other))
    assert told[3] == originals[1]
    assert told[2] != told[3]
