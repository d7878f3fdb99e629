import itertools

import pytest

from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.looking_back import Before
from edgellm.runner.pacing.pace import Pace, Unread

UNREAD, ENDLESS = [Unread(500, 0)], [Unread(100_000, 0)]
COSTS = {1: 0.010, 8: 0.024}, {16: 0.032, 64: 0.128, 256: 0.512}  # 2 ms a prompt's row


def pace(itl_target_s=0.1):
    return Pace(itl_target_s, StepCosts(*COSTS))


def test_the_chunk_is_the_largest_that_keeps_the_running_streams_target():
    ours = pace()
    chunk = ours.chunk(n_decoding=8, unread=ENDLESS, n_free_rows=500)
    target_s = 0.1 * ours.aim * (1 + 1 / 8)
    assert ours.costs.mixed_s(8, chunk) <= target_s < ours.costs.mixed_s(8, chunk + 1)


def test_who_waits_for_a_first_token_counts_as_much_as_who_waits_for_the_next():
    one = pace().chunk(n_decoding=8, unread=UNREAD, n_free_rows=500)
    eight = pace().chunk(n_decoding=8, unread=UNREAD * 8, n_free_rows=500)
    assert one < eight < 2.5 * one


def test_a_long_prompt_gets_nothing_of_the_time_of_short_ones_that_came_with_it():
    alone = pace().chunk(n_decoding=1, unread=UNREAD, n_free_rows=500)
    beside = pace().chunk(n_decoding=1, unread=[*UNREAD, *[Unread(1, 0)] * 6], n_free_rows=500)
    assert alone < beside <= alone + 10
    many = pace().chunk(n_decoding=1, unread=UNREAD * 7, n_free_rows=500)
    assert many > 3 * beside


@pytest.mark.parametrize("n_rows", [1, 5, 20, 40])
def test_a_short_prompt_is_read_in_one_step_where_a_long_ones_chunk_is_no_shorter(n_rows):
    ours = pace()
    assert ours.chunk(8, UNREAD, 500) >= 40
    assert ours.chunk(8, [Unread(n_rows, 0)], 500) >= n_rows


def test_what_nobody_reads_as_it_comes_may_wait_a_second_and_no_longer():
    ours = pace()
    chunk = ours.chunk(n_decoding=8, unread=ENDLESS, n_free_rows=5000, is_read=False)
    target_s = 1.0 * ours.aim * (1 + 1 / 8)
    assert ours.costs.mixed_s(8, chunk) <= target_s < ours.costs.mixed_s(8, chunk + 1)
    patient, asked = pace(2.0), {"n_decoding": 8, "unread": ENDLESS, "n_free_rows": 5000}
    assert patient.chunk(**asked, is_read=False) == patient.chunk(**asked)


def test_without_running_streams_or_a_target_a_prompt_takes_all_there_is():
    assert pace().chunk(0, UNREAD, 500) == 500
    assert pace(None).chunk(8, UNREAD, 500) == 500
    assert Pace(0.1).chunk(8, UNREAD, 500) == 500  # nothing is known yet


def test_where_the_streams_alone_are_slower_than_the_target_a_prompt_gets_two_thirds_of_it():
    ours = pace(0.001)
    chunk = ours.chunk(n_decoding=8, unread=UNREAD, n_free_rows=500)
    assert 0.064 < ours.costs.mixed_s(8, chunk) <= 0.072


def test_what_masks_take_of_a_step_a_prompt_does_not_get():
    ours = pace()
    chunk = ours.chunk(n_decoding=8, unread=UNREAD, n_free_rows=500, masks_s=0.02)
    target_s = 0.1 * ours.aim * (1 + 1 / 8)
    assert ours.costs.mixed_s(8, chunk) <= target_s - 0.02 < ours.costs.mixed_s(8, chunk + 1)
    assert ours.chunk(n_decoding=8, unread=UNREAD, n_free_rows=500, masks_s=9.0) > 1


def test_there_is_always_a_row_for_the_prompt_if_there_is_one_free():
    slow = Pace(0.001, StepCosts({1: 0.01}, {16: 99.0}))
    assert slow.chunk(1, UNREAD, 500) == 1
    assert slow.chunk(1, UNREAD, 0) == 0


def test_the_chunk_shrinks_as_the_prompt_gets_deeper():
    ours = pace()
    first = ours.chunk(8, UNREAD, 500)
    for _ in range(30):
        ours.observe(n_prompt_rows=first, n_decode_rows=8, elapsed_s=0.2)
    assert ours.chunk(8, UNREAD, 500) < first / 1.5


def gaps_where_steps_take(times, n=400, itl_target_s=0.1):
    """So many times what is known, one after the other."""
    ours, table = pace(itl_target_s), StepCosts(*COSTS)
    for ratio in itertools.islice(itertools.cycle(times), n):
        chunk = ours.chunk(n_decoding=8, unread=ENDLESS, n_free_rows=500)
        gap_s = ratio * table.mixed_s(8, chunk)
        ours.observe(chunk, 8, gap_s)
        yield gap_s


@pytest.mark.parametrize("late", [1.02, 1.05, 1.1, 1.15])
def test_where_some_steps_come_late_these_keep_the_target_too(late):
    gaps_s = [*gaps_where_steps_take([1.0, 1.0, late, 1.0, 0.97])][50:]
    assert 0.09 < max(gaps_s) / (1 + 1 / 8) <= 0.1


def test_where_steps_take_what_was_thought_the_target_is_used():
    gaps_s = [*gaps_where_steps_take([1.0])]
    assert 0.096 < gaps_s[-1] / (1 + 1 / 8) <= 0.1


def test_one_stopped_process_does_not_make_the_next_chunks_small_for_long():
    gaps_s = [*gaps_where_steps_take([1.0] * 100 + [20.0] + [1.0] * 40, n=141)]
    assert gaps_s[-1] > 0.085


def test_what_is_done_beside_the_rows_of_a_step_leaves_them_less_of_the_target():
    plain, beside = pace(), pace()
    for _ in range(50):
        for one, other_s in ((plain, 0.0), (beside, 0.01)):
            chunk = one.chunk(n_decoding=8, unread=ENDLESS, n_free_rows=500)
            rows_s = StepCosts(*COSTS).mixed_s(8, chunk)
            one.observe(chunk, 8, rows_s, whole_s=rows_s + other_s)
    assert beside.aim < plain.aim - 0.1
    assert beside.costs.mixed_s(8, 20) == pytest.approx(plain.costs.mixed_s(8, 20), rel=0.02)


def test_beside_threads_of_our_own_a_chunk_is_shorter_from_its_first_step_on():
    times = 1.0
    ours = Pace(0.1, StepCosts(*COSTS), lambda: times)
    ours.begin()
    free = ours.chunk(n_decoding=1, unread=UNREAD, n_free_rows=500)
    times = 2.0
    ours.begin()
    beside = ours.chunk(n_decoding=1, unread=UNREAD, n_free_rows=500)
    assert StepCosts(*COSTS).mixed_s(1, beside) * 2 <= 0.2
    times = 1.0
    ours.begin()
    assert beside < free == ours.chunk(n_decoding=1, unread=UNREAD, n_free_rows=500)


def step_s(n_decode, n_prompt, depth):
    """A CPU whose prompt rows cost twice as much at 4,000 tokens as at the start."""
    return 0.015 + 0.008 * n_decode + 0.004 * n_prompt * (1 + depth / 4000)


def read_a_long_prompt(chunk_of, n_tokens=4000, n_streams=8):
    """The steps until its first token, each a gap of the streams beside it."""
    depth = 0
    while depth < n_tokens:
        n = min(chunk_of(depth), n_tokens - depth)
        gap_s = step_s(n_streams, n, depth + n / 2)
        depth += n
        yield n, gap_s


def ours(itl_target_s, n_streams=8, slower=1.0):
    """The gaps; on a machine that is so much slower than when it was measured."""
    sizes = (16, 64, 256)
    table = StepCosts(
        {n: step_s(n, 0, 0) for n in (1, 2, 4, 8)}, {n: step_s(1, n - 1, 0) for n in sizes}
    )
    mine = Pace(itl_target_s, table)
    gaps_s, depth = [], 0

    def chunk_of(depth):
        return mine.chunk(n_streams, [Unread(100_000, depth)], 512)

    for n, gap_s in read_a_long_prompt(chunk_of):
        mine.observe(n, n_streams, slower * gap_s, before=Before(depth, depth, depth))
        gaps_s.append(slower * gap_s)
        depth += n
    return gaps_s


def p99(gaps_s):
    return sorted(gaps_s)[int(0.99 * len(gaps_s))]


@pytest.mark.parametrize("fixed", [56, 120, 504])
def test_at_the_same_time_to_the_long_prompts_first_token_the_gaps_are_shorter(fixed):
    theirs = [gap_s for _, gap_s in read_a_long_prompt(lambda _: fixed)]
    low, high = 0.1, 10.0
    while high - low > 0.001:  # the lowest target whose prompt takes about as long as theirs
        middle = (low + high) / 2
        is_late = sum(ours(middle)) > 1.08 * sum(theirs)
        low, high = (middle, high) if is_late else (low, middle)
    mine = ours(high)
    assert sum(mine) <= 1.1 * sum(theirs)
    assert p99(mine) <= 0.9 * p99(theirs)


@pytest.mark.parametrize("itl_target_s", [0.22, 0.3, 0.5, 1.0])
def test_the_target_is_kept_from_the_first_gap_to_the_last(itl_target_s):
    assert 3 * step_s(8, 0, 0) < itl_target_s * (1 + 1 / 8)
    assert p99(ours(itl_target_s)) <= itl_target_s * (1 + 1 / 8)


def test_on_a_machine_that_has_become_slow_prompts_do_not_starve():
    gaps_s = ours(0.1, slower=8.0)
    alone_s = 8 * step_s(8, 0, 0)
    in_half_the_time_s = 2 * (8 * step_s(0, 4000, 2000))
    assert sum(gaps_s) < 2 * in_half_the_time_s
    assert p99(gaps_s) < 4.5 * alone_s


@pytest.mark.parametrize("row_s", [0.0005, 0.004, 0.05])
@pytest.mark.parametrize("first_s", [0.010, 0.040])
def test_beside_a_stream_whose_steps_tell_nothing_prompts_go_on(row_s, first_s):
    ours, chunks = pace(), []
    ours.observe(0, 1, first_s)  # sure, and 40 ms are not what was thought
    for _ in range(60):
        chunks.append(n := ours.chunk(n_decoding=1, unread=UNREAD, n_free_rows=500))
        ours.observe(n, 1, 0.010 + row_s * n if n else 0.1, unsure_s=0 if n else 0.0999)
    assert (chunks[0] == 0) == (first_s == 0.040)
    assert not any(a == b == 0 for a, b in itertools.pairwise(chunks)), "one look, then prompts"
    assert chunks.count(0) <= 10
    assert 0 not in chunks[30:], "what prompts take is known"
