from datetime import date, timedelta

import pytest

from edgellm.cli.measuring.usage_report import report_text
from edgellm.meter.usage.counts import Allowance, MachineRow, Report, Row

FIRST, LAST = "2026-11-01", "2026-11-30"


def row(day, key, model="tiny", **counts):
    return Row(day=f"2026-11-{day:02}", key=key, model=model, **counts)


ROWS = [
    row(1, "anna", n_requests=3, n_prompt=900, n_cached=100, n_output=100, work_s=75.0),
    row(2, "anna", "other", n_requests=1, n_prompt=0, n_output=1000),
    row(2, "ci", n_requests=1200, n_refused=7, n_prompt=5000, n_output=1000, energy_j=2e6,
        cost=0.17),
]  # fmt: skip


def shown(by="key", columns=None, **more):
    return report_text(Report(rows=ROWS, **more), by, FIRST, LAST, columns)


def rows_of(text):
    """By their first word, as far as the first empty line below the heading."""
    table = text.split("\n\n")[1].splitlines()
    return {line.split()[0]: " ".join(line.split()[1:]) for line in table}


def test_keys_are_told_by_what_they_used_the_largest_first():
    table = rows_of(shown())
    assert [*table] == ["KEY", "ci", "anna", "all"]
    assert table["KEY"] == ("REQUESTS REFUSED PROMPT CACHED WRITTEN TIME ENERGY OF ALL TOKENS")
    assert table["ci"] == "1,200 7 5,000 0 1,000 – 2.0 MJ ████████████···· 75%"
    assert table["anna"] == "4 900 100 1,100 1m15s – ████············ 25%"
    assert table["all"] == "1,204 7 5,900 100 2,100 1m15s 2.0 MJ"


def test_days_are_told_in_their_order_and_models_by_their_tokens():
    assert [*rows_of(shown("day"))] == ["DAY", "2026-11-01", "2026-11-02", "all"]
    assert [*rows_of(shown("model"))] == ["MODEL", "tiny", "other", "all"]


def test_money_has_a_column_where_a_price_is_set():
    table = rows_of(shown(price_per_kwh=0.31, currency="EUR"))
    assert "ENERGY EUR OF" in table["KEY"]
    assert table["ci"].split()[8] == "0.17"
    assert table["anna"].split()[6] == "–"


def test_what_nobody_was_refused_has_no_column():
    text = report_text(Report(rows=ROWS[:2]), "key", FIRST, LAST, None)
    assert "REFUSED" not in text
    assert "all" not in rows_of(text)  # one row is all


def test_what_the_machine_took_is_told_idling_too():
    machine = [MachineRow(day=FIRST, energy_j=3.6e7, cost=3.1), MachineRow(day=LAST, energy_j=1e6)]
    text = shown(machine=machine, currency="EUR")
    assert "the machine took 10.3 kWh in all, idling too, 3.10 EUR" in text


def test_bounds_are_told_of_the_keys_that_have_some():
    text = shown(allowances=[
        Allowance(key="free", n_running=2),
        Allowance(key="anna", n_running=1, max_concurrent=4, tokens_per_minute=2000,
                  left_this_minute=0, tokens_per_day=10**6, left_today=999_000),
    ])  # fmt: skip
    *_, heading, line = text.splitlines()
    assert heading.split("  ")[0] == "KEY"
    for part in ("anna", "1 of 4", "0 of 2,000", "999,000 of 1,000,000"):
        assert part in line
    assert "free" not in text


def test_nobody_is_a_sentence():
    text = report_text(Report(), "key", FIRST, LAST, None)
    assert text == "nobody has asked from 2026-11-01 to 2026-11-30"


def test_a_name_from_a_stranger_steers_no_terminal():
    evil = Report(rows=[row(1, "a\x1b[2J", n_requests=1)], allowances=[
        Allowance(key="b\x1b]52;c;x\x07", max_concurrent=1)
    ])  # fmt: skip
    assert "\x1b" not in report_text(evil, "key", FIRST, LAST, None)


def test_who_asked_without_a_key_is_anybody():
    told = Report(rows=[row(1, "", n_requests=1, n_output=3)])
    assert "anybody" in rows_of(report_text(told, "key", FIRST, LAST, None))


def test_what_was_refused_before_its_model_was_read_has_a_dash_for_one():
    told = Report(rows=[row(1, "anna", "", n_refused=3)])
    assert rows_of(report_text(told, "model", FIRST, LAST, None))["–"].startswith("0 3")


def test_in_a_narrow_terminal_each_key_keeps_its_line_and_its_numbers():
    text = shown(columns=80, price_per_kwh=0.3, currency="EUR")
    assert rows_of(text)["KEY"] == "REQUESTS REFUSED PROMPT CACHED WRITTEN TIME ENERGY EUR"
    assert rows_of(text)["ci"] == "1,200 7 5,000 0 1,000 – 2.0 MJ 0.17"


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
@pytest.mark.parametrize("by", ["key", "model", "day"])
def test_it_fits_the_terminal(columns, by):
    days = [date(2026, 1, 1) + timedelta(days=i) for i in range(40)]
    rows = [
        Row(day=day.isoformat(), key=f"key {i % 3}", model="qwen3:8b", n_requests=99_999,
            n_refused=1, n_prompt=10**7, n_cached=10**6, n_output=10**6, work_s=4000.0,
            energy_j=5e6, cost=12.5)
        for i, day in enumerate(days)
    ]  # fmt: skip
    told = Report(rows=rows, price_per_kwh=0.3, currency="EUR")
    text = report_text(told, by, FIRST, LAST, columns)
    assert max(len(line) for line in text.splitlines()) <= columns
