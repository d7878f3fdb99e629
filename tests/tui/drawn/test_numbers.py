import pytest

from edgellm.tui.drawn import numbers


def test_every_unknown_number_is_a_dash():
    shown = (
        numbers.count(None),
        numbers.short_count(None),
        numbers.rate(None),
        numbers.percent(None),
        numbers.celsius(None),
        numbers.watts(None),
        numbers.watts(None, 450.0),
        numbers.hertz(None),
        numbers.joules(None),
        numbers.joules_per_token(None),
        numbers.part_of(None, None),
        numbers.off_by(None, 10),
        numbers.off_by(10, None),
    )

    assert all("–" in text and "0" not in text for text in shown)


def test_zero_is_a_number():
    assert numbers.rate(0.0) == "0.0"
    assert numbers.percent(0.0) == "0 %"
    assert numbers.watts(0.0) == "0.0 W"


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0"), (999, "999"), (12_034, "12.0k"), (148_410, "148k"), (999_499, "999k"),
        (999_500, "1.0M"), (1_300_000, "1.3M"),
    ],
)  # fmt: skip
def test_big_counts_are_short(n, text):
    assert numbers.short_count(n) == text


def test_a_part_has_the_unit_of_its_whole():
    gib = 1 << 30
    assert numbers.part_of(18 * gib, 24 * gib) == "18.0/24.0 GiB"
    assert numbers.part_of(gib // 4, 8 * gib) == "0.2/8.0 GiB"
    assert numbers.part_of(None, 8 * gib) == "–/8.0 GiB"
    assert numbers.part_of(gib, None) == "1.0/– GiB"
    assert numbers.part_of(0, gib - 1) == "0.0/1.0 GiB"


def test_watts_clocks_and_rates_keep_what_matters():
    assert numbers.watts(312.4, 450.0) == "312/450 W"
    assert numbers.watts(4.23) == "4.2 W"
    assert numbers.watts(9.96) == "10 W"
    assert numbers.joules(999.6) == "1.0 kJ"
    assert numbers.hertz(999.6e6) == "1.00 GHz"
    assert numbers.hertz(2.61e9) == "2.61 GHz"
    assert numbers.hertz(600e6) == "600 MHz"
    assert numbers.rate(34.51) == "34.5"
    assert numbers.rate(1210.4) == "1,210"


def test_a_ratio_needs_both_numbers():
    assert numbers.ratio(1, 4) == 0.25
    assert numbers.ratio(None, 4) is None
    assert numbers.ratio(1, None) is None
    assert numbers.ratio(1, 0) is None


@pytest.mark.parametrize(
    ("energy_j", "text"),
    [(0.0, "0 J"), (812.0, "812 J"), (31_400, "31.4 kJ"), (2.1e6, "2.1 MJ"), (3.6e7, "10.0 kWh")],
)
def test_many_joules_are_told_as_they_are_paid(energy_j, text):
    assert numbers.joules(energy_j) == text


@pytest.mark.parametrize(
    ("measured", "text"),
    [(1000, "+0.0 %"), (1004, "+0.4 %"), (996, "-0.4 %")],
)
def test_how_far_a_prediction_was_off_has_a_sign(measured, text):
    assert numbers.off_by(measured, 1000) == text


def test_almost_nothing_is_not_less_than_nothing():
    assert numbers.off_by(99_999, 100_000) == "+0.0 %"
