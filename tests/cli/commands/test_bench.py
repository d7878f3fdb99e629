import re
from dataclasses import replace

import pytest

from edgellm.cli.commands.bench import seconds_of
from edgellm.cli.measuring.benchmark import Expected, Measured, Moment, Row, Soaked
from edgellm.cli.measuring.reporting import plot, report, report_soak
from edgellm.errors import BadRequest

MEASURED = Measured(
    model="demo",
    quant="F16",
    url="http://x",
    version="0.1",
    device="CPU",
    rows=(
        Row("prefill", 512, 512, (900.0, 1000.0, 1100.0)),
        Row("decode", 8, 64, (50.0, 60.0, 55.0)),
        Row("decode", 512, 64, (40.0, 41.0, 39.0)),
    ),
    expected_decode_tok_s=Expected(45.0, 60.0, 70.0),
)


def expecting(*range_tok_s):
    return replace(MEASURED, expected_decode_tok_s=Expected(*range_tok_s))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("2.5", 2.5)]
)
def test_times_are_read(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1m", "0", "10 days"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(BadRequest, match="no time"):
        seconds_of(text)


def test_a_report_has_medians_and_their_spread():
    lines = report(MEASURED).splitlines()

    assert lines[3].split() == ["prefill", "512", "–", "1000", "900", "1100", "3"]
    assert lines[4].split() == ["decode", "64", "8", "55.0", "50.0", "60.0", "3"]
    assert "expected 45.0 – 70.0 tok/s of one stream: as it is" in report(MEASURED)


def test_a_report_says_when_it_is_slower_than_expected():
    text = report(expecting(110.0, 120.0, 130.0))

    assert "this is 50% below" in text
    assert "doctor" in text


def test_a_report_without_a_prediction_says_so():
    assert "made no prediction" in report(expecting(None, None, None))


def soaked(cold, warm):
    moments = (Moment(0.0, cold, 40.0, 9.0, ()), Moment(60.0, warm, 85.0, 15.0, ("thermal",)))
    return Soaked("demo", 60.0, cold, warm, moments)


def test_a_soak_compares_cold_with_warm():
    text = report_soak(soaked(20.0, 15.0))

    assert "warm is 25% slower than cold; throttled by: thermal" in text
    assert ["warm", "15.0", "85"] in [line.split() for line in text.splitlines()]


def test_a_soak_that_lost_nothing_says_so():
    assert "warm is as fast as cold" in report_soak(soaked(20.0, 20.0))


def test_a_plot_is_plain_text_that_begins_at_zero():
    drawn = plot([0, 1, 2], [10.0, 12.0, 11.0], "tok/s")

    assert "\x1b" not in drawn
    assert " 0┤" in drawn


@pytest.mark.parametrize(
    ("highest", "marks"),
    [
        (101.3, ["0", "25", "50", "75", "100", "125"]),
        (0.83, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (1031.8, ["0", "250", "500", "750", "1,000", "1,250"]),
        (4.0, ["0", "1", "2", "3", "4"]),
        (0.0, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
    ],
)
def test_the_axis_of_a_plot_has_round_numbers(highest, marks):
    drawn = plot([0, 512], [highest, highest / 2], "tok/s")

    assert re.findall(r"^ *([\d.,]+)┤", drawn, re.MULTILINE) == marks[::-1]


def test_a_plot_of_one_point_begins_at_zero_too():
    assert plot([0], [10.0], "tok/s").splitlines()[-1].split()[0] == "0"
