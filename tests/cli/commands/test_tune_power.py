"""`tune --power` from its question to its end, with an nvidia-smi as strict as the real one: it
asks, it refuses who may not, and however it ends the cards have the limits that they had."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from power_limit_run import CARDS, install

TESTS = Path(__file__).parents[2]
RUN = (sys.executable, str(TESTS / "power_limit_run.py"))
FOUND = dict(zip(CARDS, (650.25, 700.0), strict=True))


@pytest.fixture
def tune(tmp_path):
    """Starts it; what it was, and what the driver has kept."""
    started = []

    def start(*words, is_root=True, **how):
        state = install(tmp_path, is_root=is_root)
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(TESTS)}
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen([*RUN, *words], env={**os.environ, **path}, **{**quiet, **how})
        started.append(process)
        return process, lambda: json.loads(state.read_text())

    yield start
    for process in started:
        with process:  # closes its pipes
            process.kill()


def until(condition, limit_s=60.0):
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.02)


def test_nobody_who_can_not_be_asked_has_a_limit_moved(tune):
    process, kept = tune()
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "would move the power limit of 2 card(s) to 1400, " in errors
    assert "--yes" in errors
    assert kept()["history"] == []


@pytest.mark.parametrize(("answer", "is_agreed"), [("n\n", False), ("\n", False), ("y\n", True)])
def test_a_limit_is_moved_only_for_a_yes(tune, answer, is_agreed):
    terminal, end = pty.openpty()
    try:
        process, kept = tune(stdin=end, stdout=end, stderr=end)
        seen = b""
        while b"[y/N]" not in seen:
            seen += os.read(terminal, 4096)
        assert kept()["history"] == []
        os.write(terminal, answer.encode())
        if is_agreed:
            until(lambda: kept()["history"])
        else:
            assert process.wait(timeout=60) == 0
            assert kept()["history"] == []
    finally:
        os.close(terminal)
        os.close(end)


def test_who_may_not_is_told_at_once_what_to_do(tune):
    process, kept = tune("--yes", is_root=False)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "Insufficient Permissions" in errors
    assert "→ only root may set it: sudo -E edgellm tune MODEL --power" in errors
    assert "moves them back" not in errors, "nothing had been begun"
    assert kept()["history"] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_however_it_is_ended_each_card_has_its_own_limit_back(tune, number):
    process, kept = tune("--yes")
    until(lambda: len(kept()["history"]) > 2)  # the two of trying out, and the first of measuring
    assert kept()["limits"] != FOUND
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert kept()["limits"] == FOUND
    assert "Traceback" not in errors
    assert f"sudo nvidia-smi --id={CARDS[0]} --power-limit=650.25" in errors


@pytest.mark.slow
def test_impatience_does_not_keep_a_limit_from_being_put_back(tune):
    process, kept = tune("--yes")
    until(lambda: len(kept()["history"]) > 2)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)

    assert kept()["limits"] == FOUND


@pytest.mark.slow
def test_a_driver_that_refuses_in_the_middle_leaves_no_limit_moved(tune, tmp_path):
    process, kept = tune("--yes")
    until(lambda: len(kept()["history"]) > 2)
    tool, stricter = tmp_path / "nvidia-smi", tmp_path / "stricter"
    shutil.copy2(tool, stricter)
    stricter.write_text(
        tool.read_text().replace("if not 200.0 <=", "if watts == 600 or not 200.0 <=")
    )
    stricter.replace(tool)  # one that is written to can't be started: "Text file busy"
    _, errors = process.communicate(timeout=90)

    assert process.returncode == 1
    assert "is not a valid power limit" in errors
    assert kept()["limits"] == FOUND
