import itertools
import random

from edgellm.runner.kv.stops import following, stops

END = 7
TEXT = [1] * 10_000


def prompt(*messages):
    """Messages of so many tokens, the last of each ends it."""
    return [token for n in messages for token in [*TEXT[: n - 1], END]]


def found(tokens, start=0, parted=0, every=512, whole=0):
    return stops(tokens, start, frozenset({END}), every, parted, whole)


def test_the_first_and_the_last_message_end_with_a_checkpoint():
    assert found([*prompt(100, 50, 50, 50), *TEXT[:4]]) == [100, 250]


def test_messages_in_between_do_where_they_are_far_apart():
    assert found([*prompt(100, 300, 50, 300, 100), *TEXT[:4]]) == [100, 400, 750, 850]


def test_a_short_system_prompt_is_not_worth_a_step():
    assert found([*prompt(20, 100), *TEXT[:4]]) == [120]


def test_a_prompt_without_messages_has_a_checkpoint_before_its_last_token():
    assert found(TEXT[:100]) == [99]
    assert found(TEXT[:30]) == []


def test_a_few_tokens_of_its_own_beside_what_is_shared_are_kept_for_the_same_prompt():
    assert found(TEXT[:532], start=500) == [531]
    assert found(TEXT[:516], start=500) == []


def test_no_gap_is_longer_than_the_grid():
    assert found(TEXT[:1200]) == [512, 1024, 1199]
    assert found([*prompt(700, 700), *TEXT[:4]]) == [512, 700, 1212, 1400]


def test_the_last_length_at_which_a_window_is_whole_is_one_of_the_grid():
    assert found(TEXT[:532], whole=511) == [511, 531]
    assert found(TEXT[:532], whole=127) == [531]
    assert found(TEXT[:526], whole=511) == [525]
    assert found(TEXT[:2000], whole=1023) == [512, 1023, 1535, 1999]
    assert found([*prompt(100, 700), *TEXT[:4]], whole=512) == [100, 512, 800]
    assert found(TEXT[:1200], start=600, whole=512) == [1112, 1199]


def test_where_another_prompt_parted_is_a_stop():
    assert found(TEXT[:400], parted=200) == [200, 399]
    assert found(TEXT[:400], start=190, parted=200) == [399]


def test_what_is_shared_already_has_its_stops():
    conversation = [*prompt(100, 200, 60), *TEXT[:4]]
    assert found(conversation, start=300) == [360]


def test_stops_ascend_inside_the_prompt_and_no_gap_is_too_long():
    for seed in range(300):
        rng = random.Random(seed)
        tokens = rng.choices([1, 2, END], [40, 40, rng.choice((0, 1, 20))], k=rng.randint(1, 3000))
        start, parted = rng.randint(0, len(tokens) - 1), rng.randint(0, len(tokens) - 1)
        every = rng.choice((100, 512))
        got = found(tokens, start, parted, every, whole=rng.choice((0, 90, 511, 512, 1023)))
        edges = [start, *got, len(tokens)]
        assert edges == sorted(set(edges))
        assert all(b - a <= every + 32 for a, b in itertools.pairwise(edges))


def test_the_next_stop_lies_beyond_what_is_computed():
    assert following([100, 250], 0) == 100
    assert following([100, 250], 100) == 250
    assert following([100, 250], 250) is None
