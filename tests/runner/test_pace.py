from edgellm.runner.costs import StepCosts
from edgellm.runner.pace import Pace

COSTS = {1: 0.010, 8: 0.024}, {16: 0.032, 64: 0.128, 256: 0.512}  # 2 ms a prompt's row


def pace(itl_target_s=0.1):
    return Pace(itl_target_s, StepCosts(*COSTS))


def test_the_chunk_is_the_largest_that_keeps_the_running_streams_target():
    ours = pace()
    chunk = ours.chunk(n_decoding=8, n_prefilling=0, n_free_rows=500)
    assert ours.costs.mixed_s(8, chunk) <= 0.1 < ours.costs.mixed_s(8, chunk + 1)


def test_who_waits_for_a_first_token_counts_as_much_as_who_waits_for_the_next():
    one = pace().chunk(n_decoding=8, n_prefilling=1, n_free_rows=500)
    eight = pace().chunk(n_decoding=8, n_prefilling=8, n_free_rows=500)
    assert one < eight < 2.5 * one


def test_without_running_streams_or_a_target_a_prompt_takes_all_there_is():
    assert pace().chunk(0, 1, 500) == 500
    assert pace(None).chunk(8, 1, 500) == 500
    assert Pace(0.1).chunk(8, 1, 500) == 500  # nothing is known yet


def test_where_the_streams_alone_are_slower_than_the_target_a_prompt_gets_half_the_time():
    ours = pace(0.001)
    chunk = ours.chunk(n_decoding=8, n_prefilling=1, n_free_rows=500)
    assert 0.040 < ours.costs.mixed_s(8, chunk) <= 0.048


def test_there_is_always_a_row_for_the_prompt_if_there_is_one_free():
    slow = Pace(0.001, StepCosts({1: 0.01}, {16: 99.0}))
    assert slow.chunk(1, 1, 500) == 1
    assert slow.chunk(1, 1, 0) == 0


def test_the_chunk_shrinks_as_the_prompt_gets_deeper():
    ours = pace()
    first = ours.chunk(8, 1, 500)
    for _ in range(30):
        ours.observe(n_prompt_rows=first, n_decode_rows=8, elapsed_s=0.2)
    assert ours.chunk(8, 1, 500) < first / 1.5
