import pytest

from edgellm.errors import BadRequest
from edgellm.units import (
    GIB,
    KIB,
    MIB,
    TIB,
    format_bytes,
    format_params,
    format_rate,
    format_seconds,
    parse_bytes,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (7_615_616_512, "7.6 B"), (70_553_706_496, "70.6 B"), (671_026_419_200, "671 B"),
        (596_049_920, "596 M"), (99_970_000, "100 M"), (260_032, "260 K"), (999, "999"), (0, "0"),
        (999_960_000, "1.0 B"), (999_500_000, "1.0 B"), (999_499_999, "999 M"), (999_500, "1.0 M"),
    ],
)  # fmt: skip
def test_parameters_are_counted_as_models_names_do(n, words):
    assert format_params(n) == words


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (0, "0 B"), (1023, "1023 B"), (KIB, "1.0 KiB"), (1536, "1.5 KiB"),
        (1_048_524, "1023.9 KiB"), (1_048_525, "1.0 MiB"), (MIB - 1, "1.0 MiB"),
        (GIB - MIB, "1023.0 MiB"), (GIB - 1, "1.0 GiB"), (TIB - 1, "1.0 TiB"),
        (2048 * TIB, "2048.0 TiB"), (-1536, "-1.5 KiB"), (None, "–"),
    ],
)  # fmt: skip
def test_what_would_round_to_a_whole_of_the_next_unit_is_told_in_it(n, words):
    assert format_bytes(n) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"), (0.0123, "12 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (1, "1.0 s"),
        (59.94, "59.9 s"), (59.96, "1m00s"), (75, "1m15s"), (3599.4, "59m59s"), (3599.6, "1h00m"),
        (None, "–"),
    ],
)  # fmt: skip
def test_a_time_that_rounds_to_the_next_unit_is_told_in_it(seconds, words):
    assert format_seconds(seconds) == words


def test_a_rate_loses_its_decimal_where_it_would_read_100():
    assert [format_rate(rate) for rate in (99.94, 99.96, 100.4)] == [
        "99.9 tok/s", "100 tok/s", "100 tok/s",
    ]  # fmt: skip


def test_a_rate_of_seconds_a_token_is_not_none():
    assert [format_rate(rate, "").strip() for rate in (0.0, 0.033, 0.0949, 0.0951)] == [
        "0.0", "0.03", "0.09", "0.1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("24GiB", 24 * GIB), ("1.5 MB", 1_500_000), ("20MiB/s", 20 * MIB), ("2b", 2), ("0", 0),
     ("2k", 2 * KIB), ("8589934592", 8 * GIB)],
)  # fmt: skip
def test_a_size_is_read_in_the_unit_that_it_has(text, n_bytes):
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["2", "24", "1.5", "500000", "much", ""])
def test_a_small_number_without_a_unit_is_asked_for_it(text):
    with pytest.raises(BadRequest, match=r"no unit|not a size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("90s", 90), ("1.5 s", 1.5), ("10m", 600), ("1h", 3600), ("2.5", 2.5)],
)
def test_a_time_is_read_in_the_unit_that_it_has(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1m", "0", "0s", "10 days"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(BadRequest, match="no time"):
        parse_seconds(text)
