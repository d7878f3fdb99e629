"""What it looks like. After a change that is meant: pytest tests/tui --snapshot-update, and look.

Each picture is of one answer of the server and a history that was made up; no clock is in it.
"""

import pytest
from textual.widgets import Static
from tui_samples import URL, big, model, ordinary, pictured, sequence, unknown
from tui_status_server import until


@pytest.fixture(autouse=True)
def in_colour(monkeypatch):
    """Whatever the terminal is that the tests run in."""
    monkeypatch.delenv("NO_COLOR", raising=False)


def picture(snap_compare, newest, size, press=(), **options):
    app, prepare = pictured(newest, **options)

    async def run_before(pilot):
        await prepare(pilot)
        await pilot.press(*press)
        await pilot.pause()

    return snap_compare(app, terminal_size=size, run_before=run_before)


def test_an_ordinary_machine_at_80_by_24(snap_compare):
    assert picture(snap_compare, ordinary(), (80, 24))


def test_an_ordinary_machine_at_120_by_40(snap_compare):
    assert picture(snap_compare, ordinary(), (120, 40))


def test_eight_devices_and_32_requests_at_80_by_24(snap_compare):
    assert picture(snap_compare, big(), (80, 24))


def test_eight_devices_and_32_requests_at_120_by_40(snap_compare):
    assert picture(snap_compare, big(), (120, 40))


def test_nothing_is_known(snap_compare):
    assert picture(snap_compare, unknown(), (80, 24))


def test_the_server_is_gone(snap_compare):
    assert picture(snap_compare, ordinary(), (80, 24), problem=f"no server at {URL}")


def test_without_colour(snap_compare, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    failed = model(state="failed", detail="out of memory: 9.1 GiB asked for", n_restarts=2)
    rows = (sequence(1), sequence(2, "prefill", n_computed=40, n_output=0))
    two = (failed, model(name="second", sequences=rows))

    assert picture(snap_compare, ordinary(models=two), (80, 24))


def test_the_plan(snap_compare):
    assert picture(snap_compare, ordinary(), (80, 24), press=["p"])


def test_the_help(snap_compare):
    assert picture(snap_compare, ordinary(), (80, 24), press=["question_mark"])


def test_the_chat(snap_compare):
    app, prepare = pictured(ordinary(models=(model(state="loading", progress_ratio=0.4),)))

    async def run_before(pilot):
        await prepare(pilot)
        await pilot.press("c", *"hello", "enter")
        await until(lambda: "waits" in str(app.screen.query_one("#note", Static).content))
        await pilot.pause()

    assert snap_compare(app, terminal_size=(80, 24), run_before=run_before)
