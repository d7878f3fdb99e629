import pytest
from tui_samples import big, model, ordinary, seen, text, unknown

from edgellm.tui.drawn.dashboard import dashboard
from edgellm.tui.drawn.lines import width_of

STATUSES = {
    "ordinary": ordinary(),
    "big": big(),
    "unknown": unknown(),
    "empty": ordinary(models=(), devices=(), log=()),
    "wide name": ordinary(models=(model(name="模型" * 60, detail="長い" * 200),)),
}


@pytest.mark.parametrize("size", [(1, 1), (20, 4), (30, 7), (45, 30), (59, 40), (200, 15)])
@pytest.mark.parametrize("name", STATUSES)
def test_no_terminal_is_too_small_for_what_fits_on_it(name, size):
    columns, rows = size
    block = dashboard(seen(STATUSES[name]), columns, rows)

    assert {width_of(line) for line in block} == {columns}
    assert 1 <= len(block) <= rows


def test_a_telephone_shows_the_speed_the_queue_and_each_device():
    shown = text(dashboard(seen(ordinary()), 40, 24))

    for words in (
        "qwen3:8b  ● ready",
        "decode  34.5 tok/s, 5 s mean",
        "34.5 of 31–40",
        "running · ",
        "cells",
        "GiB",
    ):
        assert words in shown
    assert "60×17 shows all of it" in shown


def test_a_model_that_failed_says_why_there_too():
    failed = ordinary(models=(model(state="failed", detail="no memory is left"),))

    assert "no memory is left" in text(dashboard(seen(failed), 40, 10))
