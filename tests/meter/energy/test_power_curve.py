"""Which limits are tried, and which is worth having."""

import pytest

from edgellm.meter.energy.power_curve import Point, ratios, thriftiest


@pytest.mark.parametrize(("least", "most"), [(0.3, 1.0), (0.55, 1.2), (0.0, 1.119), (0.9, 1.0)])
def test_limits_go_from_the_most_to_the_least_by_way_of_the_default(least, most):
    tried = ratios(least, most)

    assert tried[0] == pytest.approx(most, abs=1e-3)
    assert tried[-1] == pytest.approx(least, abs=1e-3)
    assert 1.0 in tried
    assert list(tried) == sorted(set(tried), reverse=True)
    assert 5 <= len(tried) <= 7


def test_a_card_that_allows_one_limit_only_is_measured_at_it():
    assert ratios(1.0, 1.0) == (1.0,)


def curve(*points):
    return [Point(w / 700, w, tok_s, power_w) for w, tok_s, power_w in points]


def test_the_thriftiest_is_not_much_slower_than_the_fastest():
    points = curve((700, 100, 600), (500, 99, 480), (350, 92, 340), (200, 50, 150))

    assert thriftiest(points).limit_w == 350  # 200 W takes fewer joules, and half the speed


def test_of_two_that_take_the_same_the_faster_one_is_chosen():
    assert thriftiest(curve((700, 100, 500), (600, 96, 480))).limit_w == 700


def test_without_power_there_is_no_thriftiest():
    assert thriftiest(curve((700, 100, None))) is None
    assert thriftiest([]) is None
