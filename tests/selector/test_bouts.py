"""When a variation counts as faster."""

import itertools
import random

import pytest

from edgellm.profiles import load_profiles
from edgellm.selector.bouts import Bout, Match, Sample, interval, middle, scatter_ratio, verdict
from edgellm.selector.knobs import Knobs

CHAT = load_profiles().workload("chat")
MATCH = Match(Knobs(8, 2048, 512, None), Knobs(6, 2048, 512, None))


def bout(*ratios, fault=None):
    """The challenger's times over the incumbent's."""
    pairs = tuple((Sample(500.0, 50.0), Sample(500.0 / r, 50.0 / r)) for r in ratios)
    return Bout(MATCH, pairs, fault)


def test_two_pairs_that_were_no_faster_end_it_since_no_interval_could_lie_below_one():
    assert verdict((1.0,)) is None
    assert verdict((1.0, 1.2)) is False
    assert verdict((1.0, 0.8, 1.2, 0.8)) is False
    assert verdict((1.0, 1.2, 1.01)) is False
    for is_final, most in ((False, 9), (True, 11)):
        assert verdict((0.8,) * (most - 2) + (1.0, 1.0), is_final=is_final) is False
        assert verdict((0.8, 1.0, 1.0), is_final=is_final) is False


def test_five_pairs_that_all_say_so_win():
    assert verdict((0.9,) * 4) is None
    assert verdict((0.9, 0.85, 0.99, 0.8, 0.9)) is True


def test_a_gain_below_three_percent_is_none():
    assert verdict((0.98,) * 5) is False


def test_one_odd_pair_of_nine_is_forgiven_two_are_not():
    assert verdict((0.9,) * 4 + (1.1,)) is None
    assert verdict((0.9,) * 8 + (1.1,)) is True
    assert verdict((0.9,) * 7 + (1.1, 1.1)) is False


def test_a_final_is_longer():
    assert verdict((0.9,) * 7, is_final=True) is None
    assert verdict((0.9,) * 8, is_final=True) is True
    assert verdict((0.9,) * 9 + (1.1, 1.1), is_final=True) is False


@pytest.mark.parametrize("is_final", [False, True])
def test_luck_alone_wins_seldom_and_every_match_ends(is_final):
    """Pure noise, however wide: 4.1 of 100 matches, and 0.8 of 100 finals."""
    generator, won, n_matches = random.Random(5), 0, 4000
    for _ in range(n_matches):
        ratios = []
        while (decided := verdict(ratios, is_final=is_final)) is None:
            assert len(ratios) < 11
            ratios.append(generator.uniform(0.5, 1.5))
        won += decided
    assert won / n_matches < (0.012 if is_final else 0.05)


def test_the_interval_holds_the_median_nineteen_times_of_twenty():
    generator = random.Random(5)
    for n in (5, 9):
        inside = 0
        for _ in range(4000):
            low, high = interval([generator.gauss(1, 0.1) for _ in range(n)])
            inside += low <= 1 <= high
        assert inside / 4000 > 0.93


def test_a_ratio_is_of_a_typical_requests_time():
    one, two = Sample(600.0, 30.0), Sample(1200.0, 30.0)
    (ratio,) = Bout(MATCH, ((one, two),)).ratios(CHAT)

    assert ratio == pytest.approx((600 / 1200 + 300 / 30) / (600 / 600 + 300 / 30))


def test_what_could_not_be_loaded_has_lost():
    assert bout(0.5, 0.5, fault="no room").is_won(CHAT) is False
    assert bout().is_won(CHAT) is None
    assert bout(*(0.5,) * 5).is_won(CHAT) is True


def test_the_scatter_is_half_of_the_usual_interval():
    bouts = [bout(0.9, 1.0, 1.1), bout(0.99, 1.0, 1.01), bout(1.0, 1.2, 1.3), bout(fault="no")]

    assert scatter_ratio(bouts, CHAT) == pytest.approx(0.1)
    assert scatter_ratio([], CHAT) == 0.0


def test_the_middle_of_samples_is_taken_of_each_figure_apart():
    samples = [Sample(a, b) for a, b in itertools.product((1.0, 2.0, 9.0), (3.0, 4.0, 5.0))]

    assert middle(samples) == Sample(2.0, 4.0)
