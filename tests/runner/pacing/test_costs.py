import pytest

from edgellm.runner.pacing.costs import StepCosts

BLOCKS = {1: 0.020, 2: 0.030, 3: 0.049, 4: 0.031, 8: 0.071}  # kernels that like four rows
PROMPT = {16: 0.080, 64: 0.250}


def test_what_was_measured_is_told_and_between_two_sizes_a_straight_line():
    costs = StepCosts(BLOCKS)
    assert costs.step_s(3) == 0.049
    assert costs.step_s(6) == pytest.approx(0.051)


def test_beyond_the_largest_size_a_row_costs_its_average_and_below_the_smallest_nothing_less():
    assert StepCosts({4: 0.04}).step_s(8) == pytest.approx(0.08)
    assert StepCosts({4: 0.04}).step_s(1) == pytest.approx(0.04)


def test_nothing_is_known_before_anything_was_seen():
    costs = StepCosts()
    assert (costs.step_s(1), costs.mixed_s(1, 8)) == (None, None)
    costs.observe(2, 0, 0.03)
    assert costs.step_s(2) == 0.03
    assert costs.mixed_s(2, 8) is None
    costs.observe(0, 64, 0.25)
    assert costs.mixed_s(0, 64) == 0.25


def test_prompt_rows_beside_decoding_ones_cost_less_than_by_themselves():
    costs = StepCosts(BLOCKS, PROMPT)
    assert costs.step_s(4) < costs.mixed_s(4, 48) < costs.step_s(4) + costs.mixed_s(0, 48)


def test_a_longer_chunk_never_costs_less():
    costs = StepCosts(BLOCKS, PROMPT)
    for n_decode in (0, 1, 8, 30):
        told = [costs.mixed_s(n_decode, n) for n in range(1, 300)]
        assert told == sorted(told)


def test_longer_conversations_make_all_sizes_dearer_at_once():
    costs = StepCosts(BLOCKS, PROMPT)
    for _ in range(30):
        costs.observe(4, 0, 2 * 0.031)
    assert costs.step_s(4) == pytest.approx(0.062, rel=0.05)
    assert costs.step_s(1) > 0.025


def test_a_size_that_is_off_by_itself_is_corrected_in_time():
    costs = StepCosts({1: 0.02, 4: 0.04})
    for _ in range(300):  # both run in turn: the factor finds no middle that suits them
        costs.observe(1, 0, 0.02)
        costs.observe(4, 0, 0.10)
    assert costs.step_s(4) / costs.step_s(1) == pytest.approx(5, rel=0.25)


def test_a_stopped_process_is_forgotten_after_a_few_steps():
    costs = StepCosts(BLOCKS)
    costs.observe(1, 0, 60.0)
    assert costs.step_s(1) < 0.05
    for _ in range(10):
        costs.observe(1, 0, 0.020)
    assert costs.step_s(1) == pytest.approx(0.020, rel=0.1)


def test_a_deep_prompts_rows_are_learnt_beside_running_streams():
    costs = StepCosts(BLOCKS, PROMPT)
    before_s = costs.mixed_s(8, 48)
    for _ in range(20):
        costs.observe(8, 48, before_s + 0.1)
    assert costs.mixed_s(8, 48) == pytest.approx(before_s + 0.1, rel=0.02)
    assert costs.step_s(8) == 0.071


def test_rows_are_padded_only_to_sizes_that_were_measured_to_be_cheaper():
    costs = StepCosts(BLOCKS)
    assert [costs.padded(n) for n in (1, 2, 3, 4, 5, 8, 9)] == [1, 2, 4, 4, 5, 8, 9]
    assert StepCosts({3: 0.0400, 4: 0.0395}).padded(3) == 3


def test_a_noisy_measurement_that_made_padding_look_good_is_found_out_by_a_look_now_and_then():
    costs = StepCosts({3: 0.090, 4: 0.050})  # three rows really take 45 ms
    assert costs.padded(3) == 4
    n_looks = 0
    while costs.padded(3) == 4:
        for _ in range(49):
            costs.observe(4, 0, 0.050)
        costs.observe(3, 0, 0.045)
        n_looks += 1
    assert n_looks <= 6


def test_a_machine_that_got_slower_while_prompts_were_read_is_found_out_by_one_step_without():
    costs = StepCosts(BLOCKS, PROMPT)
    while not costs.doubtful:
        costs.observe(8, 48, 5 * costs.mixed_s(8, 0) + 1.0)
    while costs.doubtful:
        costs.observe(8, 0, 5 * 0.071)
    assert costs.step_s(8) == pytest.approx(5 * 0.071, rel=0.5)


def test_a_prompt_that_gets_deeper_makes_doubtful_once_or_twice():
    costs, n_doubts = StepCosts(BLOCKS, PROMPT), 0
    base_s, chunk_s = costs.step_s(8), costs.mixed_s(0, 48)
    for i in range(80):
        costs.observe(8, 48, base_s + chunk_s * (1 + i / 80))
        if costs.doubtful:
            n_doubts += 1
            costs.observe(8, 0, base_s)
    assert n_doubts <= 2


def test_a_step_of_another_size_than_the_last_is_told_without_what_that_costs():
    costs = StepCosts({1: 0.001, 2: 0.001}, switch_s=0.002)
    for i in range(20):
        costs.observe(1 + i % 2, 0, 0.003)
    assert costs.step_s(1) == pytest.approx(0.001, rel=0.1)


def test_of_a_step_whose_time_is_not_sure_only_what_is_sure_is_learned():
    costs = StepCosts({1: 0.005})
    for _ in range(20):
        costs.observe(1, 0, 0.030, unsure_s=0.029)  # 1 to 30 ms
    assert costs.step_s(1) == pytest.approx(0.005)
    for _ in range(40):
        costs.observe(1, 0, 0.030, unsure_s=0.020)  # 10 to 30 ms
    assert costs.step_s(1) == pytest.approx(0.010, rel=0.05)
    for _ in range(40):
        costs.observe(1, 0, 0.003, unsure_s=0.002)
    assert costs.step_s(1) == pytest.approx(0.003, rel=0.05)


def test_what_nothing_is_known_of_is_believed_to_be_no_dearer_than_it_was_seen():
    costs = StepCosts()
    costs.observe(2, 0, 0.03, unsure_s=0.02)
    assert costs.step_s(2) == 0.03


def in_doubt():
    """Of eight streams, after prompts beside them got dearer."""
    costs = StepCosts(BLOCKS, PROMPT)
    while not costs.doubtful:
        costs.observe(8, 48, 5 * costs.mixed_s(8, 0) + 1.0)
    return costs


def test_a_step_that_tells_nothing_settles_no_doubt():
    costs, untouched = in_doubt(), in_doubt()
    for _ in range(50):
        costs.observe(8, 0, 0.2, unsure_s=0.19)
    for each in (costs, untouched):
        each.observe(8, 0, 2 * 0.071)
    assert costs.step_s(8) == pytest.approx(untouched.step_s(8)), "the look was still to come"


def test_a_step_that_tells_nothing_leaves_a_size_as_long_unseen():
    costs, untouched = StepCosts({1: 0.02, 8: 0.07}), StepCosts({1: 0.02, 8: 0.07})
    for each in (costs, untouched):
        for _ in range(50):
            each.observe(1, 0, 0.02)
    costs.observe(8, 0, 0.2, unsure_s=0.19)
    for each in (costs, untouched):
        each.observe(8, 0, 0.14)
    assert costs.step_s(8) == pytest.approx(untouched.step_s(8))


def test_after_a_look_that_told_nothing_the_next_is_asked_for_when_prompts_got_dearer_again():
    costs = in_doubt()
    costs.observe(8, 0, 0.2, unsure_s=0.19)
    assert not costs.doubtful
    costs.observe(8, 48, 1.05 * costs.mixed_s(8, 48))
    assert not costs.doubtful
    for _ in range(5):
        costs.observe(8, 48, 2 * costs.mixed_s(8, 48))
    assert costs.doubtful


def test_after_a_step_that_told_something_looks_are_asked_for_as_ever():
    costs = in_doubt()
    costs.observe(8, 0, 0.2, unsure_s=0.19)
    costs.observe(8, 0, 2 * 0.071)  # sure, and not what was thought
    assert costs.doubtful


def test_looks_in_vain_at_a_deep_prompt_spare_the_next_one_none():
    costs = in_doubt()
    costs.observe(8, 0, 0.2, unsure_s=0.19)
    for _ in range(40):
        costs.observe(8, 48, 0.25)  # a prompt that begins
    while not costs.doubtful:
        costs.observe(8, 48, 1.1 * costs.mixed_s(8, 48))
    assert costs.mixed_s(8, 48) < 0.5


def test_a_size_never_seen_is_learned_from_a_step_that_is_not_sure():
    costs = StepCosts({1: 0.02, 4: 0.04})
    costs.observe(3, 0, 0.05, unsure_s=0.04)
    costs.observe(8, 0, 0.09, unsure_s=0.04)
    assert costs.n_seen == 8


def test_what_is_known_to_slow_a_step_is_no_sign_of_a_deeper_prompt():
    costs = StepCosts({1: 0.01, 8: 0.02}, {16: 0.03, 64: 0.12})
    before = costs.step_s(8), costs.mixed_s(8, 20)
    costs.slow_down(2.0)
    assert (costs.step_s(8), costs.mixed_s(8, 20)) == pytest.approx([2 * one for one in before])
    for _ in range(20):
        costs.observe(8, 20, costs.mixed_s(8, 20))
    assert not costs.doubtful
    costs.slow_down(1.0)
    assert (costs.step_s(8), costs.mixed_s(8, 20)) == pytest.approx(before)
