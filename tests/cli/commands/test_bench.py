import json
import re
from dataclasses import replace

import pytest
from selector_machines import machine
from server.server_fakes import FakeEngine, live_server, served

from edgellm.cli.commands.bench import _measured, _tell
from edgellm.cli.measuring.benchmark import Bench, Expected, Measured, Moment, Row, Sizes, Soaked
from edgellm.cli.measuring.plotting import plot
from edgellm.cli.measuring.reporting import report, report_soak
from edgellm.cli.preparing import machine as machine_here
from edgellm.cli.serving.busy import Crowd, crowd
from edgellm.cli.serving.client import Client
from edgellm.errors import DeadlinePassed

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


def test_a_report_has_medians_and_their_spread():
    lines = report(MEASURED).splitlines()

    assert lines[3].split() == ["prefill", "512", "–", "1000", "900", "1100", "3"]
    assert lines[4].split() == ["decode", "64", "8", "55.0", "50.0", "60.0", "3"]
    assert "expected 45.0 – 70.0 tok/s of one stream: as it is" in report(MEASURED)


def test_a_quantization_that_nobody_told_is_a_dash():
    assert report(replace(MEASURED, quant=None)).startswith(f"{MEASURED.model} – on ")


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


def test_what_others_have_slowed_is_said_to_be_kept_nowhere(capsys):
    _tell(replace(MEASURED, crowd=Crowd(7.25, 3.0)), as_json=True)
    told = capsys.readouterr()
    said = "others keep this machine busy (load 7.2, at most 3 would do); measure again when it is"

    assert json.loads(told.out)["crowd"] == {"load": 7.25, "most": 3.0}
    assert f"nothing of this is kept for the next plan: {said} idle" in told.err


def test_what_nobody_slowed_needs_no_word(capsys):
    _tell(MEASURED, as_json=True)
    told = capsys.readouterr()

    assert json.loads(told.out)["crowd"] is None
    assert told.err == ""


def test_a_machine_was_busy_where_no_answer_ended_in_an_idle_moment():
    loads = iter([9.0, 2.0, 8.0])
    with live_server(served(engine=FakeEngine())) as live, Client(live.url) as client:
        bench = Bench(live.url, "tiny", Sizes(8, 2, 1), load=lambda: next(loads))
        for _ in range(3):
            bench._complete(client, (1, 2), n_tokens=2, cached=False)
    assert bench.least_load == 2.0
    assert crowd(2.0, machine()) is None


def test_what_was_measured_is_told_even_where_the_machine_does_not_answer(monkeypatch):
    def silent():
        raise DeadlinePassed("this machine did not tell in time")

    monkeypatch.setattr(Bench, "measure", lambda self: MEASURED)
    monkeypatch.setattr(machine_here, "recall", silent)
    assert _measured("unix:///run/e.sock", "demo", Sizes(8, 2, 1), None) == MEASURED


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
