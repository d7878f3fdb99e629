import pytest

from edgellm.cli.commands.cost import cost, measured
from edgellm.cli.flags.cost_inputs import CostInputs
from edgellm.cli.measuring.cost_report import report
from edgellm.cli.measuring.costs import Pace, costs
from edgellm.config import Config
from edgellm.errors import BadRequest, DoesNotFit
from edgellm.profiles import load_prices
from edgellm.status import EnergyStatus, ModelStatus, Status

FAST = Pace("tiny", 100.0, "measured", 350.0, "measured")
RENTED = {"H100 80GB": 200.0}


def made(pace=FAST, config=None, **means):
    return costs(pace, CostInputs(**means), config or Config(), load_prices(), RENTED)


def cloud(found, name):
    return next(row for row in found.cloud if row.name == name)


def test_the_golden_break_even_and_the_golden_request():
    found = made(capex=10_000, monthly=500, requests_per_day=50)

    assert cloud(found, "H100 80GB").break_even_h == pytest.approx(4987, abs=1)
    assert cloud(found, "RTX 4090").per_request == pytest.approx(0.1632)
    assert cloud(found, "RTX 4090").break_even_h is None


def test_a_million_tokens_is_an_hour_over_what_is_written_in_it():
    found = made(capex=8760, years=1, per_kwh=0.30)

    assert found.per_hour.energy == pytest.approx(0.105)
    assert found.per_million.energy == pytest.approx(0.105 / 0.36)
    assert found.per_million.total == pytest.approx(1.105 / 0.36)
    assert cloud(found, "H100 80GB").per_million == pytest.approx(2.69 / 0.72)
    assert cloud(found, "RTX 4090").per_million is None, "its speed is not known"


def test_the_configurations_price_counts_and_the_flag_goes_before_it():
    config = Config(energy_price_per_kwh=0.20)

    assert made(config=config).per_hour.energy == pytest.approx(0.07)
    assert made(config=config, per_kwh=0.40).per_hour.energy == pytest.approx(0.14)


def test_another_currency_needs_a_rate():
    config = Config(currency="EUR")
    with pytest.raises(BadRequest, match="cloud prices are in USD"):
        made(config=config)
    found = made(config=config, usd=0.5)
    assert cloud(found, "H100 80GB").per_hour == pytest.approx(1.345)
    assert any("1 USD = 0.5 EUR" in one for one in found.assumptions)
    assert not any("1 USD" in one for one in made().assumptions)


def test_what_is_given_is_said_to_be_given():
    found = made(tok_s=50.0, watts=200.0, per_kwh=0.30)

    assert (found.pace.tok_s, found.pace.tok_s_from) == (50.0, "as given")
    assert "energy: 200 W, as given, at 0.3 USD/kWh; while it idles, none" in found.assumptions


def test_unknown_power_is_a_dash_and_is_said():
    text = report(made(Pace("tiny", 100.0, "measured", None, ""), per_kwh=0.30, capex=100), 100)

    assert "– W" in text
    assert "energy is not counted: no power is known (--watts)" in text
    assert "all that is known" in text


def test_what_nobody_told_is_a_dash_and_never_a_zero():
    found = made(Pace("tiny", 100.0, "measured", None, ""))
    text = report(found, 100)

    assert (found.per_hour.total, found.per_million.total) == (None, None)
    assert "0.00" not in text
    for words in (
        "no power is known (--watts) and no price of a kWh is set (--per-kwh)",
        "the purchase is not counted: no price is given (--capex)",
        "standing charges are not counted: none are given (--monthly)",
    ):
        assert words in " ".join(text.split())
    assert made(requests_per_day=50).per_request is None


def test_where_nobody_told_anything_words_stand_for_a_table_of_dashes():
    text = report(made(Pace("tiny", 100.0, "predicted", None, "")), 80)

    assert "what THIS MACHINE costs is not known" in text
    for flag in ("--capex 2400", "--per-kwh 0.31 --watts 150", "--monthly 30", "edgellm serve"):
        assert flag in text
    assert "AN HOUR  A MILLION TOKENS\nenergy" not in text
    assert "BREAK-EVEN" not in text
    assert "break-even" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_known_is_not_asked_for():
    known = report(made(Pace("tiny", 100.0, "measured now", 350.0, "", "http://x")), 80)
    assert "--per-kwh 0.31: its energy" in known
    assert "edgellm serve" not in known
    assert "what THIS MACHINE costs is not known" not in report(made(monthly=0), 80)
    assert "BREAK-EVEN" in report(made(capex=100), 80)


def test_what_costs_nothing_is_a_zero():
    assert made(capex=0, monthly=0).per_hour.total == 0


def status(n_running=0, decode_tok_s=None, energy=None):
    model = ModelStatus(name="m", state="ready", n_running=n_running, decode_tok_s=decode_tok_s)
    return Status(version="0", pid=1, url="", uptime_s=1.0, models=(model,), energy=energy)


ENERGY = EnergyStatus(
    total_j=900, idle_j=400, requests_j=500, power_w=80.0, j_per_token=2.0, tok_s=25.0
)


@pytest.mark.parametrize(
    ("told", "tok_s", "watts", "words"),
    [
        (status(n_running=1, decode_tok_s=30.0, energy=ENERGY), 30.0, 80.0, "measured now"),
        (status(decode_tok_s=30.0, energy=ENERGY), 25.0, 50.0, "measured, all answers so far"),
        (status(n_running=1, decode_tok_s=30.0), 30.0, None, "measured now"),
        (status(), None, None, "predicted, one stream"),
    ],
)
def test_of_a_server_the_measured_comes_before_the_predicted(told, tok_s, watts, words):
    pace = measured("http://x", told, told.models[0])
    assert (pace.tok_s, pace.watts, pace.tok_s_from) == (tok_s, watts, words)


def test_the_server_that_was_asked_is_named():
    pace = Pace("tiny", 100.0, "measured now", 350.0, "", "http://127.0.0.1:8485")
    assert report(made(pace), 100).startswith("tiny at http://127.0.0.1:8485   100")


def test_the_report_has_its_figures_its_assumptions_and_a_picture():
    text = report(made(capex=10_000, monthly=500, requests_per_day=50), 100)

    for words in ("4,987 h", "never", "0.16", "of 730 hours", "USD paid, over hours of use"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100
    assert "2026-02 to 2026-03" in text, "the prices are of two months"
    assert "57,228┤" in text, "whole numbers at the picture's side"
    assert "USD paid" not in report(made(), 100), "nothing was bought, nothing is crossed"


def test_what_is_reserved_here_is_no_room_for_the_model(monkeypatch, capsys):
    """The plan that is told the cost of is the one that serve would make."""
    monkeypatch.setenv("EDGELLM_RESERVE", "1MiB")
    cost(CostInputs(), "qwen3:0.6b", offline=True)
    assert "predicted, one stream" in capsys.readouterr().out
    monkeypatch.setenv("EDGELLM_RESERVE", "1000TiB")
    with pytest.raises(DoesNotFit) as refused:
        cost(CostInputs(), "qwen3:0.6b", offline=True)
    assert "reserve" in refused.value.hint
