import collections
import random
import re
from dataclasses import replace

import pytest
from runner_fakes import FakeBackend, answer

from edgellm.chat.messages import Claim, GenerateParams
from edgellm.errors import ContextTooLong
from edgellm.runner.batch import Copy, Row, Start
from edgellm.runner.kv.memory import Limits
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

LIMITS = Limits(
    n_cells=200, n_ctx_seq=100, n_batch=16, n_seq_max=4, n_ids=8, shares_prefixes=True
)  # fmt: skip
SPLIT = Limits(
    n_cells=400, n_ctx_seq=100, n_batch=16, n_seq_max=4, n_ids=4, shares_prefixes=True,
    unified=False,
)  # fmt: skip
LIKES_FOUR = {1: 0.020, 2: 0.030, 3: 0.049, 4: 0.031}  # seconds by rows
both_layouts = pytest.mark.parametrize("limits", [LIMITS, SPLIT], ids=["unified", "split"])


def run(scheduler, backend, requests, *, check=True):
    """Submit all at once, step until idle. The answers, by request id."""
    answers = {}
    for request_id, (prompt, n_output) in enumerate(requests):
        scheduler.add(Sequence(request_id, list(prompt), len(prompt) + n_output))
        answers[request_id] = []
    while not scheduler.idle:
        step(scheduler, backend, answers, check=check)
    return answers


def step(scheduler, backend, answers, *, check=True):
    batch = scheduler.schedule()
    if batch is None:
        return
    for output in scheduler.commit(batch, backend.decode(batch).sampled):
        answers[output.sequence.request_id].append(output.token)
    if check:
        scheduler.check()


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


class Took:
    """The mask of a structure that is hard to follow."""

    def __init__(self, took_s):
        self.took_s = took_s


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


@both_layouts
def test_a_common_prefix_is_computed_once(limits):
    shared = list(range(3, 43))
    requests = [([*shared, 45 + i % 4, i + 3], 5) for i in range(4)]
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    answers = run(scheduler, backend, requests)
    assert answers == {i: answer(list(p), n) for i, (p, n) in enumerate(requests)}
    n_unique_prompt, n_decoded = len(shared) + 4 * 2, 4 * 4
    assert backend.n_computed == n_unique_prompt + n_decoded


@both_layouts
def test_a_finished_conversation_is_continued_where_it_ended(limits):
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    first = run(scheduler, backend, [([9, 8, 7], 6)])[0]
    before = backend.n_computed
    run(scheduler, backend, [([9, 8, 7, *first, 30], 4)])
    # The last token of the first answer was told but never computed; the new one comes on top.
    assert backend.n_computed - before == 2 + 3


def test_without_sharing_every_prompt_is_computed_whole():
    limits = Limits(n_cells=200, n_ctx_seq=100, n_batch=16, n_seq_max=4, n_ids=4)
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    run(scheduler, backend, [(range(3, 23), 2)] * 2)
    assert backend.n_computed == 2 * (20 + 1)


@both_layouts
def test_a_follower_of_a_cancelled_leader_computes_the_prefix_itself(limits):
    scheduler, backend, answers = Scheduler(limits), FakeBackend(limits), {0: [], 1: []}
    prompt = list(range(3, 43))
    for request_id in (0, 1):
        scheduler.add(Sequence(request_id, list(prompt), 45))
    step(scheduler, backend, answers)
    assert len(scheduler.waiting) == 1
    scheduler.cancel(0)
    while not scheduler.idle:
        step(scheduler, backend, answers)
    assert answers[1] == answer(prompt, 5)
    assert backend.n_computed == 40 + 4  # what the leader had computed was not lost


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


def retain(scheduler, backend, prompt, n_output=2, request_id=0):
    """Run one conversation to its end. What it left in the cache."""
    answers = {request_id: []}
    scheduler.add(Sequence(request_id, list(prompt), len(prompt) + n_output))
    while not scheduler.idle:
        step(scheduler, backend, answers)
    return [*prompt, *answers[request_id]]


def test_another_conversation_does_not_take_over_a_stream_it_shares_little_with():
    limits = Limits(
        n_cells=800, n_ctx_seq=200, n_batch=64, n_seq_max=4, n_ids=4, shares_prefixes=True,
        unified=False,
    )  # fmt: skip
    scheduler, backend = Scheduler(limits), FakeBackend(limits)
    header = list(range(3, 13))
    first = retain(scheduler, backend, [*header, *[20] * 120])
    retain(scheduler, backend, [*header, 30, 31], request_id=1)
    before = backend.n_computed
    again = Sequence(2, [*first, 40], len(first) + 3)
    scheduler.add(again)
    while not scheduler.idle:
        step(scheduler, backend, {2: []})
    assert again.n_cached == len(first) - 1
    assert backend.n_computed - before == 2 + 1


def test_a_token_or_two_in_common_are_not_worth_the_copy_of_a_stream():
    scheduler, backend, answers = Scheduler(SPLIT), FakeBackend(SPLIT), {0: [], 1: []}
    scheduler.add(Sequence(0, [1, 5, 6], 20))
    step(scheduler, backend, answers)
    scheduler.add(Sequence(1, [1, 9, 9], 20))
    batch = scheduler.schedule()
    assert not [op for op in batch.ops if isinstance(op, Copy)]


def test_a_request_that_fits_beside_the_running_ones_does_not_wait_for_a_retained_one():
    limits = Limits(
        n_cells=100, n_ctx_seq=100, n_batch=64, n_seq_max=4, n_ids=8, shares_prefixes=True
    )
    scheduler, backend, answers = Scheduler(limits), FakeBackend(limits), {1: [], 2: []}
    retain(scheduler, backend, [5] * 50)
    scheduler.add(Sequence(1, [6], 40))
    step(scheduler, backend, answers)
    scheduler.add(Sequence(2, [5] * 10 + [7], 50))  # shares ten of the fifty that are retained
    step(scheduler, backend, answers)
    assert len(scheduler.running) == 2


def test_a_request_that_cannot_come_in_yet_empties_nobodys_cache():
    limits = Limits(
        n_cells=100, n_ctx_seq=100, n_batch=64, n_seq_max=4, n_ids=8, shares_prefixes=True
    )
    scheduler, backend, answers = Scheduler(limits), FakeBackend(limits), {1: [], 2: []}
    retain(scheduler, backend, [5] * 20)
    scheduler.add(Sequence(1, [6], 60))
    step(scheduler, backend, answers)
    scheduler.add(Sequence(2, [7], 100))
    step(scheduler, backend, answers)
    assert len(scheduler.waiting) == 1
    assert len(scheduler.memory.retained) == 1


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


def padded(limits, costs=LIKES_FOUR):
    return Scheduler(limits, Pace(None, StepCosts(costs))), FakeBackend(limits)


def test_three_streams_take_a_row_of_nobodys_where_four_are_faster():
    scheduler, backend = padded(LIMITS)
    answers = run(scheduler, backend, [([5 + i, 6], 10) for i in range(3)])
    assert answers == {i: answer([5 + i, 6], 10) for i in range(3)}
    assert 5 <= backend.n_padded <= 10


def test_what_padding_saves_is_looked_at_again_now_and_then():
    scheduler, backend = padded(replace(LIMITS, n_cells=400))
    for i in range(3):
        scheduler.add(Sequence(i, [5 + i, 6], 92))
    sizes = []
    while len(scheduler.running) == 3 or scheduler.waiting:
        batch = scheduler.schedule()
        sizes.append(len(batch.rows) + len(batch.padding))
        list(scheduler.commit(batch, backend.decode(batch).sampled))
    assert 1 <= sizes.count(3) <= 3
    assert sizes.count(4) > 20


@pytest.mark.parametrize(
    "limits",
    [
        SPLIT,
        Limits(n_cells=6, n_ctx_seq=6, n_batch=16, n_seq_max=4, n_ids=4),  # no cell to spare
        Limits(n_cells=200, n_ctx_seq=100, n_batch=16, n_seq_max=3, n_ids=3),  # no id to spare
    ],
    ids=["split", "no cell", "no id"],
)
def test_nothing_is_padded_where_it_would_be_somebodys_place(limits):
    scheduler, backend = padded(limits)
    requests = [([5 + i], 2) for i in range(3)]
    assert run(scheduler, backend, requests) == {i: answer([5 + i], 2) for i in range(3)}
    assert backend.n_padded == 0


def test_nothing_is_padded_beyond_a_steps_rows():
    limits = replace(LIMITS, n_batch=2, n_seq_max=2, n_draft_rows=3)
    scheduler, backend = padded(limits, {1: 0.05, 2: 0.06, 3: 0.01})
    assert run(scheduler, backend, [([5], 9)]) == {0: answer([5], 9)}
    assert backend.n_padded == 0


def test_a_padded_batch_that_finds_no_slot_is_tried_without():
    scheduler, _ = padded(LIMITS)
    for i in range(3):
        scheduler.add(Sequence(i, [5 + i], 20))
    scheduler.commit(batch := scheduler.schedule(), {})
    batch = replace(batch, padding=(Row(3, 0, 5, wants_logits=True),))
    again = scheduler.relieve(batch)
    assert (again.rows, again.padding) == (batch.rows, ())
