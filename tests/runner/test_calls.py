import os
from itertools import groupby

import pytest
from real_model import demo_path, plan

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.backend import NoKVSlot
from edgellm.runner.batch import Batch, Forget, Row, Sampled, Start
from edgellm.runner.calls import Calls
from edgellm.runner.llama.backend import LlamaBackend

ROWS = (Row(0, 7, 30, True), Row(1, 8, 31, False), Row(1, 9, 32, False), Row(2, 9, 33, True))


def by_sequence(rows):
    return [tuple(own) for _, own in groupby(rows, lambda row: row.seq_id)]


class Computer:
    """Finds no place for the sequences in `full`."""

    def __init__(self, *full):
        self.full, self.computed = set(full), []

    def __call__(self, rows):
        if rows[0].seq_id in self.full:
            raise NoKVSlot
        self.computed += [(row.seq_id, row.pos) for row in rows]
        return {row.seq_id: (new(row),) for row in rows if row.wants_logits}


def new(row):
    return Sampled(row.token + 1, ends=False, silent=False)


@pytest.mark.parametrize("full", [0, 1, 2])
def test_a_step_that_is_tried_again_computes_no_row_twice_and_tells_all(full):
    calls, compute = Calls(), Computer(full)
    with pytest.raises(NoKVSlot):
        calls.run(ROWS, by_sequence, compute)
    compute.full.clear()
    assert calls.run(ROWS, by_sequence, compute) == {0: (new(ROWS[0]),), 2: (new(ROWS[3]),)}
    assert compute.computed == [(row.seq_id, row.pos) for row in ROWS]


def test_it_may_be_tried_more_than_once():
    calls, compute = Calls(), Computer(1, 2)
    for _ in range(2):
        with pytest.raises(NoKVSlot):
            calls.run(ROWS, by_sequence, compute)
        compute.full.discard(1)
    compute.full.clear()
    assert {*calls.run(ROWS, by_sequence, compute)} == {0, 2}
    assert compute.computed == [(row.seq_id, row.pos) for row in ROWS]


def test_what_was_done_of_one_step_is_not_of_the_next():
    calls, compute = Calls(), Computer(2)
    with pytest.raises(NoKVSlot):
        calls.run(ROWS, by_sequence, compute)
    assert {*calls.run(ROWS[:1], by_sequence, compute)} == {0}
    assert calls.run((), by_sequence, compute) == {}
    assert {*calls.run(ROWS[:1], by_sequence, compute)} == {0}
    assert compute.computed.count((0, 7)) == 3


@pytest.mark.model
def test_llama_computes_the_calls_that_are_left_when_a_stream_was_full():
    size = 256
    shape = plan(
        n_ctx=2 * size, n_ctx_seq=size, n_parallel=2, n_seq_max=2, kv_unified=False,
        batch_invariant=True,
    )  # fmt: skip
    backend = LlamaBackend(os.fsencode(demo_path()), shape, lambda ratio: None)
    params = GenerateParams(SamplingParams(temperature=0), 1)
    starts = tuple(Start(seq_id, seq_id, params, ()) for seq_id in (0, 1))
    prompts = [Row(0, pos, 300 + pos, False) for pos in range(8)]
    prompts += [Row(1, pos, 300 + pos, False) for pos in range(size)]
    backend.decode(Batch(starts, tuple(prompts), len(prompts)))
    rows = (Row(0, 8, 308, True), Row(1, size, 308, True))
    with pytest.raises(NoKVSlot):
        backend.decode(Batch((), rows, 0))
    told = backend.decode(Batch((Forget(1),), rows, 0)).sampled
    assert {*told} == {0, 1}
    following = (Row(0, 9, told[0][0].token, True),)  # llama.cpp refuses a row that is not next
    assert {*backend.decode(Batch((), following, 0)).sampled} == {0}


@pytest.mark.model
def test_a_prompt_that_is_read_apart_leaves_the_streams_beside_it_as_they_are_alone():
    shape = plan(n_ctx=2048, n_ctx_seq=512, n_parallel=2, n_seq_max=2)
    params = GenerateParams(SamplingParams(temperature=0), 1, logprobs=2)
    begun = [Row(0, pos, 300 + pos, pos == 8) for pos in range(9)]
    prompt = tuple(Row(1, pos, 400 + pos, pos == 69) for pos in range(70))

    def told(*steps):
        """By the sequences' ids, of a new model on which a stream has begun."""
        backend, found = LlamaBackend(os.fsencode(demo_path()), shape, lambda ratio: None), {}
        starts = tuple(Start(seq_id, seq_id, params, ()) for seq_id in (0, 1))
        (first,) = backend.decode(Batch(starts, tuple(begun), len(begun))).sampled[0]
        stream = (Row(0, 9, first.token, True),)
        for batch in (each(stream) for each in steps):
            found |= backend.decode(batch).sampled
        return found

    alone = told(lambda stream: Batch((), stream, 0), lambda _: Batch((), prompt, len(prompt)))
    apart, together = (
        told(lambda stream, ids=ids: Batch((), stream + prompt, len(prompt), apart=ids))
        for ids in (frozenset({1}), frozenset())
    )
    assert apart == alone
    assert {seq_id: new[0].token for seq_id, new in together.items()} == {
        seq_id: new[0].token for seq_id, new in alone.items()
    }
