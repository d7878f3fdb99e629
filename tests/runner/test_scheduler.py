"""Who comes in, in which order, and what a step gives to whom."""

import collections
import random
import re
from dataclasses import replace

import pytest
from runner_fakes import FakeBackend, answer
from scheduler_runs import LIKES_FOUR, LIMITS, SPLIT, both_layouts, run, step

from edgellm.chat.messages import Claim, GenerateParams
from edgellm.errors import ContextTooLong
from edgellm.runner.batch import Start
from edgellm.runner.kv.memory import Limits
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.looking_back import NOTHING, LookingBack
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence


@both_layouts
def test_one_request_gets_the_answer_the_model_gives(limits):
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    assert run(scheduler, backend, [([5, 6, 7], 10)]) == {0: answer([5, 6, 7], 10)}


@both_layouts
def test_a_long_prompt_does_not_stall_a_running_stream(limits):
    scheduler, backend, answers = Scheduler(limits), FakeBackend(limits), {0: [], 1: []}
    scheduler.add(Sequence(0, [5], 51))
    step(scheduler, backend, answers)
    scheduler.add(Sequence(1, [6] * 90, 95))
    for n in range(2, 8):
        step(scheduler, backend, answers)
        assert len(answers[0]) == n


@pytest.mark.parametrize(("readers", "waits"), [((), False), ((0,), True), ((1,), False)])
def test_answers_that_nobody_reads_as_they_come_make_no_prompt_wait(readers, waits):
    costs, limits = StepCosts({1: 0.1}, {100: 1.0}), replace(LIMITS, n_batch=128)
    scheduler, backend, answers = Scheduler(limits, Pace(0.2, costs)), FakeBackend(limits), {}
    for request_id, tokens in enumerate(([5], [6] * 90)):
        params = GenerateParams(is_read=request_id in readers)
        answers[request_id] = []
        scheduler.add(Sequence(request_id, tokens, 95, params))
        step(scheduler, backend, answers)
    assert bool(answers[1]) != waits


@both_layouts
def test_a_step_tells_how_deep_its_prompts_rows_lie_in_the_mean(limits):
    scheduler, backend = Scheduler(replace(limits, n_batch=8)), FakeBackend(limits)
    scheduler.add(Sequence(0, [5] * 20, 95))
    depths = []
    for _ in range(3):
        batch = scheduler.schedule()
        depths.append(batch.before.depth)
        list(scheduler.commit(batch, backend.decode(batch).sampled))
    scheduler.add(Sequence(1, [6] * 6, 95))
    batch = scheduler.schedule()
    assert depths == [0, 8, 16]
    assert (batch.n_prompt_rows, batch.before.depth) == (6, 0)
    list(scheduler.commit(batch, backend.decode(batch).sampled))
    assert scheduler.schedule().before == NOTHING, "there is no prompt"


class Asked(Pace):
    """Notes what it is asked."""

    def chunk(self, n_decoding, unread, *args, n_sitting, **more):
        self.n_beside, self.unread = n_decoding - n_sitting, unread
        return super().chunk(n_decoding, unread, *args, n_sitting=n_sitting, **more)


def test_a_chunk_is_for_who_may_have_rows_beside_who_has_some():
    """Others' prompts lie at other depths."""
    limits, pace = replace(LIMITS, n_cells=400), Asked(0.1, StepCosts({1: 0.01}, {8: 0.04}))
    scheduler, backend = Scheduler(limits, pace), FakeBackend(limits)
    backend.adapters[0] = b""
    own = {1: (), 2: ((0, 1.0),), 40: (), 50: ((0, 1.0),)}  # adapters by tokens of a prompt
    for n_prompt, adapters in own.items():
        params = GenerateParams(adapters=adapters)
        scheduler.add(Sequence(n_prompt, [5] * n_prompt, n_prompt + 40, params))
    seen = set()
    while batch := scheduler.schedule():
        if batch.n_prompt_rows:
            assert {own[each.n_rows + each.depth] for each in pace.unread} == {batch.adapters}
            assert pace.n_beside == len(batch.rows) - batch.n_prompt_rows
            seen.add((batch.adapters, pace.n_beside))
        scheduler.budget.turns.observe(1.0)
        list(scheduler.commit(batch, backend.decode(batch).sampled))
    assert {((), 1), (((0, 1.0),), 1)} <= seen


def test_beside_deep_streams_a_prompts_rows_are_the_calls_that_cost_least():
    limits = replace(LIMITS, n_cells=4000, n_ctx_seq=1000, n_batch=512)
    rows = {n: 0.010 + 0.004 * n for n in (1, 64, 512)}
    for tile_rows, apart in ((64, {1}), (None, set())):
        costs = StepCosts({1: 0.014}, rows, looking_back=LookingBack(tile_rows, on_cpu=True))
        scheduler, backend = Scheduler(limits, Pace(None, costs)), FakeBackend(limits)
        answers = {0: [], 1: []}
        scheduler.add(Sequence(0, [5] * 900, 950))
        while not answers[0]:
            step(scheduler, backend, answers)
        scheduler.add(Sequence(1, [6] * 90, 95))
        batch = scheduler.schedule()
        assert (batch.n_prompt_rows, batch.apart) == (90, apart)
        assert (batch.before.own_tiles < batch.before.in_tiles) is bool(tile_rows)


def test_a_step_looks_at_the_tiles_of_those_prompts_that_have_rows_in_it():
    limits = replace(LIMITS, n_cells=4000, n_ctx_seq=1000, n_batch=64)
    costs = StepCosts({}, {64: 0.3}, looking_back=LookingBack(64, on_cpu=True))
    scheduler, backend = Scheduler(limits, Pace(None, costs)), FakeBackend(limits)
    running, seen = [Sequence(n, [n] * (900 - 300 * n), 950) for n in range(3)], set()
    for sequence in running:
        scheduler.add(sequence)
    while not any(sequence.is_decoding for sequence in running):
        held = {i: scheduler.memory.in_tiles([s]) for i, s in scheduler.running.items()}
        batch = scheduler.schedule()
        ids = {row.seq_id for row in batch.rows}
        if len(ids) == 1:
            seen |= ids
            assert batch.before.own_tiles == held.get(ids.pop(), 0)
        list(scheduler.commit(batch, backend.decode(batch).sampled))
    assert len(seen) > 1


class Took:
    """The mask of a structure that is hard to follow."""

    def __init__(self, took_s):
        self.took_s = took_s


def test_masks_beside_which_no_prompt_waits_make_no_step_late():
    costs, limits = StepCosts({1: 0.1}, {100: 1.0}), replace(LIMITS, n_batch=128)
    pace = Pace(0.2, costs)
    scheduler, backend, answers = Scheduler(limits, pace), FakeBackend(limits), {0: [], 1: []}
    structured = Sequence(0, [5], 95, GenerateParams(is_read=False))
    scheduler.add(structured)
    step(scheduler, backend, answers)
    structured.mask = Took(0.5)
    scheduler.add(Sequence(1, [6] * 90, 95))
    batch = scheduler.schedule()
    aim, thought_s = pace.aim, costs.mixed_s(1, batch.n_prompt_rows)
    pace.observe(batch.n_prompt_rows, 1, thought_s, whole_s=thought_s + 0.5)
    assert pace.aim >= aim


@both_layouts
def test_streams_with_long_masks_take_turns_and_nobody_else_waits_for_them_all(limits):
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    for request_id in range(4):
        mask = Took(0.05) if request_id else None
        scheduler.add(Sequence(request_id, [5 + request_id], 20, mask=mask))
    answers, n_masks = {i: [] for i in range(4)}, []
    while not scheduler.idle:
        n_before = [len(answers[i]) for i in range(4)]
        step(scheduler, backend, answers)
        new = [len(answers[i]) - n for i, n in enumerate(n_before)]
        n_masks.append(sum(new[1:]))
        assert new[0] or len(answers[0]) == 19
    assert n_masks[0] == 3  # of a first token the mask was computed beforehand
    assert set(n_masks[1:]) == {1}
    assert answers == {i: answer([5 + i], 19) for i in range(4)}


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused_with_both_numbers():
    with pytest.raises(ContextTooLong, match="100 tokens") as raised:
        Scheduler(LIMITS).add(Sequence(0, [5] * 100, 110))
    assert raised.value.sizes == (100, 100)
    for known in (  # by which agents find out that their conversation must be shortened
        r"^prompt is too long: \d+ tokens > \d+ maximum",  # Anthropic's
        r"exceeds the available context size",  # llama-server's
        r"this model's maximum context length is \d+ tokens",  # OpenAI's, vLLM's
    ):
        assert re.search(known, str(raised.value))


def test_an_answer_that_fills_the_context_ends_with_length():
    scheduler, backend = Scheduler(LIMITS), FakeBackend(LIMITS)
    sequence = Sequence(0, [5] * 90, 10**6)
    scheduler.add(sequence)
    while not scheduler.idle:
        step(scheduler, backend, {0: []})
    assert (sequence.finish_reason, len(sequence.tokens)) == ("length", 100)


def order_of_starts(scheduler, backend):
    """Run until idle: the request ids, as they came in."""
    begun = []
    while batch := scheduler.schedule():
        begun += [op.request_id for op in batch.ops if isinstance(op, Start)]
        list(scheduler.commit(batch, backend.decode(batch).sampled))
        scheduler.check()
    return begun


def test_what_fits_passes_a_request_that_waits_for_cells_but_only_so_often():
    limits = Limits(n_cells=60, n_ctx_seq=60, n_batch=16, n_seq_max=4, n_ids=4)
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    scheduler.add(Sequence(0, [5] * 20, 40))
    scheduler.add(Sequence(1, [6] * 30, 50))
    for request_id in range(2, 20):
        scheduler.add(Sequence(request_id, [7, request_id], 8))
    begun = order_of_starts(scheduler, backend)
    assert begun[:6] == [0, 2, 3, 4, 5, 1]  # as many pass it as may run at once
    assert begun[6:] == list(range(6, 20))


@both_layouts
def test_a_short_prompt_is_read_while_a_long_one_is_still_being_read(limits):
    scheduler, backend, answers = Scheduler(limits), FakeBackend(limits), {0: [], 1: []}
    scheduler.add(Sequence(0, [6] * 90, 95))
    scheduler.add(Sequence(1, [7] * 4, 8))
    for _ in range(2):
        step(scheduler, backend, answers)
    assert answers[1]
    assert not answers[0]


@both_layouts
def test_a_long_prompt_gets_on_while_short_ones_keep_coming(limits):
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    answers = collections.defaultdict(list)
    scheduler.add(Sequence(0, [6] * 90, 95))
    n_steps = 0
    while not answers[0]:
        n_steps += 1
        scheduler.add(Sequence(n_steps, [7 + n_steps % 9] * 16, 17))
        step(scheduler, backend, answers)
    assert n_steps <= 2 * 90 / 16 + 2


def claimed(request_id, arrived_s=0.0, **claim):
    params = GenerateParams(claim=Claim(**claim))
    return Sequence(request_id, [5 + request_id % 9] * 3, 5, params, arrived_s)


def test_who_waits_comes_in_by_priority():
    scheduler, backend = Scheduler(LIMITS), FakeBackend(LIMITS)
    for request_id, priority in enumerate([0, 0, 0, 0, 3, -2, 0]):
        scheduler.add(claimed(request_id, priority=priority))
    assert order_of_starts(scheduler, backend) == [5, 0, 1, 2, 3, 6, 4]


def test_rows_of_a_split_memory_are_in_ascending_order_of_ids():
    scheduler, backend = Scheduler(SPLIT), FakeBackend(SPLIT)
    for request_id, first in enumerate((5, 6, 7)):
        scheduler.add(Sequence(request_id, [first] * 3, 6 + request_id))
    while batch := scheduler.schedule():
        ids = [row.seq_id for row in batch.rows]
        assert ids == sorted(ids)
        list(scheduler.commit(batch, backend.decode(batch).sampled))


def rows_by_request(scheduler, batch):
    counts = collections.Counter(row.seq_id for row in batch.rows)
    return {scheduler.running[seq_id].request_id: n for seq_id, n in counts.items()}


@pytest.mark.parametrize("itl_target_s", [None, 0.001])
def test_batch_invariant_a_sequence_is_computed_in_the_pieces_it_would_have_alone(itl_target_s):
    limits = Limits(
        n_cells=400, n_ctx_seq=100, n_batch=20, n_seq_max=4, n_ids=4, shares_prefixes=True,
        unified=False, n_chunk=16,
    )  # fmt: skip
    rng = random.Random(4)
    scheduler, backend = Scheduler(limits, Pace(itl_target_s)), FakeBackend(limits)
    scheduler.pace.observe(64, 0, 1.0)
    header = [rng.randint(3, 49) for _ in range(60)]
    prompts = [[*header[: rng.randint(0, 60)], *range(3, rng.randint(5, 12))] for _ in range(40)]
    waiting, answers = list(enumerate(prompts)), {i: [] for i in range(40)}
    pieces, n_cached = {i: [] for i in range(40)}, {}
    while waiting or not scheduler.idle:
        for request_id, prompt in waiting[: rng.randint(0, 2)]:
            scheduler.add(Sequence(request_id, list(prompt), len(prompt) + 5))
            waiting = waiting[1:]
        if batch := scheduler.schedule():
            for request_id, n_rows in rows_by_request(scheduler, batch).items():
                pieces[request_id].append(n_rows)
            n_cached |= {s.request_id: s.n_cached for s in scheduler.running.values()}
            for output in scheduler.commit(batch, backend.decode(batch).sampled):
                answers[output.sequence.request_id].append(output.token)
            scheduler.check()
    for i, prompt in enumerate(prompts):
        whole, rest = divmod(len(prompt), 16)
        alone = [*[16] * whole, *[rest] * (rest > 0), *[1] * 4]
        assert n_cached[i] % 16 == 0
        assert pieces[i] == alone[n_cached[i] // 16 :]
        assert answers[i] == answer(prompt, 5)
    assert sum(n_cached.values()) > 200


def test_no_history_loses_a_cell_an_id_or_a_right_answer():
    for seed in range(120):
        _random_history(random.Random(seed))


def _random_history(rng):
    unified = rng.random() < 0.6
    limits = Limits(
        n_cells=rng.choice((64, 128, 256)) if unified else 240, n_ctx_seq=60,
        n_batch=rng.choice((8, 16, 64)), n_seq_max=4,
        n_ids=rng.choice((4, 8, 16)) if unified else 4,
        shares_prefixes=rng.random() < 0.8, unified=unified,
    )  # fmt: skip
    scheduler, backend = Scheduler(limits, Pace(None, StepCosts(LIKES_FOUR))), FakeBackend(limits)
    wanted, answers, prompts = {}, {}, [[5], [6, 7], list(range(3, 33))]
    for request_id in range(40):
        if rng.random() < 0.6:
            base = rng.choice(prompts)[: rng.randint(1, 40)]
            prompt = base + [rng.randint(3, 49) for _ in range(rng.randint(0, 10))]
            n_output = rng.randint(1, 12)
            cached = GenerateParams(cache_prompt=rng.random() < 0.9)
            scheduler.add(Sequence(request_id, list(prompt), len(prompt) + n_output, cached))
            wanted[request_id], answers[request_id] = answer(prompt, n_output), []
            prompts.append(prompt + wanted[request_id])
        if rng.random() < 0.1 and wanted:
            victim = rng.choice(list(wanted))
            if scheduler.cancel(victim):
                del wanted[victim]
        for _ in range(rng.randint(0, 4)):
            step(scheduler, backend, answers)
    while not scheduler.idle:
        step(scheduler, backend, answers)
    assert {i: answers[i] for i in wanted} == wanted
