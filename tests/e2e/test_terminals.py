"""Commands on terminals of all kinds, and Ctrl-C on them: real processes."""

import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest
from cli_runs import DEMO_PATH, EDGELLM, PATIENCE_S, wait_for
from hub_server import HubServer

ESCAPE = "\x1b"


@pytest.fixture
def hub(home):
    """A repository whose download takes long enough to be broken off."""
    with HubServer(bytes_per_s=300_000) as hub:
        hub.add("org/repo", "m-F16.gguf", DEMO_PATH.read_bytes())
        home.env["HF_ENDPOINT"] = hub.endpoint
        yield hub


@pytest.mark.parametrize(("term", "said"), [("dumb", "TERM is dumb"), ("", "TERM is not set")])
def test_top_draws_nothing_on_a_terminal_that_cannot(terminal, term, said):
    screen = terminal("top", TERM=term)
    screen.until("edgellm ps")

    assert screen.process.wait(timeout=PATIENCE_S) == 2
    assert said in screen.text
    assert ESCAPE not in screen.text


@pytest.mark.model
def test_up_goes_without_a_screen_on_a_terminal_that_cannot_draw(terminal):
    screen = terminal("up", "--demo", "--port", "0", TERM="dumb")
    screen.until("curl ")

    assert "this terminal can't be drawn on (TERM is dumb)" in screen.text
    assert ESCAPE not in screen.text
    screen.process.send_signal(signal.SIGINT)
    assert screen.process.wait(timeout=PATIENCE_S) == 0


@pytest.mark.model
def test_up_ends_where_its_terminal_vanishes_without_a_signal(home):
    master, slave = pty.openpty()
    with subprocess.Popen(
        (*EDGELLM, "up", "--demo", "--port", "0"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=home.env | {"TERM": "xterm-256color"},
        start_new_session=True,
    ) as process:
        try:
            os.close(slave)
            drawn = b""
            while b"quit" not in drawn:
                drawn += os.read(master, 1 << 16)
            os.close(master)
            assert process.wait(timeout=PATIENCE_S) == 0
        finally:
            process.kill()


def part_bytes(home):
    return sum(one.stat().st_size for one in home.folder.rglob("*.edgellm.part"))


def broken_off(screen, home):
    """Ctrl-C as soon as a part is here; the exit code."""
    wait_for(lambda: part_bytes(home))
    screen.process.send_signal(signal.SIGINT)
    return screen.process.wait(timeout=PATIENCE_S)


def test_ctrl_c_in_a_download_says_that_the_same_command_goes_on(home, hub, terminal):
    screen = terminal("pull", "org/repo")
    screen.until("looking for org/repo …")  # before the hub has answered
    assert broken_off(screen, home) == 130
    screen.until("the same command goes on from")
    assert "Traceback" not in screen.text

    here, hub.bytes_per_s = part_bytes(home), None
    assert home.run("pull", "org/repo").code == 0
    asked = {request.range for request in hub.requests}
    assert any(one and one.startswith(f"bytes={here}-") for one in asked)


def test_a_download_that_broke_off_is_listed_with_what_is_here_of_it(home, hub, terminal):
    broken_off(terminal("pull", "org/repo"), home)
    part, demo = json.loads(home.run("list", "--json").out)

    assert (part["repo"], part["done_bytes"]) == ("org/repo", part_bytes(home))
    assert part["size_bytes"] == demo["size_bytes"] == DEMO_PATH.stat().st_size
    assert (part["name"], part["quant"]) == ("hf.co/org/repo:F16", "F16")
    assert "not whole" in home.run("list").out
    assert home.run("rm", part["name"]).code == 0
    assert part_bytes(home) == 0


def test_a_download_of_run_is_named_with_its_quantization_and_broken_off_alike(home, hub, terminal):
    screen = terminal("run", "org/repo:F16", "hi", TERM="dumb")
    assert broken_off(screen, home) == 130
    screen.until("the same command goes on from")
    assert "hf.co/org/repo F16 " in screen.text
    assert ESCAPE not in screen.text


@pytest.mark.model
def test_lines_that_are_pasted_together_are_one_question(terminal):
    screen = terminal("run", "demo", "--max-tokens", "4")
    screen.until(">>> ")
    screen.until(f"{ESCAPE}[?2004h")  # the terminal is to mark what is pasted
    screen.type(f"{ESCAPE}[200~first\rsecond{ESCAPE}[201~\r")
    wait_for(lambda: screen.text.count(">>> ") == 2)
    screen.type("/bye\r")

    assert screen.process.wait(timeout=PATIENCE_S) == 0
    assert screen.text.count(">>> ") == 2


def test_who_waits_for_the_doctor_is_told_so_until_it_has_looked(terminal):
    screen = terminal("doctor")  # its sensors alone take longer than a sign is waited for
    screen.until("python")
    drawn, _ = screen.text.split("ok    python", 1)

    assert drawn.startswith("\r\x1b[Kchecking this machine … ")
    assert drawn.endswith("\r\x1b[K")


def test_nothing_is_drawn_for_who_pipes(home):
    done = home.run("doctor", "--json")

    assert json.loads(done.out)
    assert ESCAPE not in done.err


MIXED = ("3090", "3060", "4090", "4080", "2080 Ti")  # many ways to share layers out
# A fast machine is done before anybody waits for a sign.
IMPATIENT = (
    sys.executable,
    "-c",
    "import sys; from edgellm.cli import main, waiting; waiting._PATIENT_S = 0.2; "
    "main.main(sys.argv[1:])",
)
DEVICES = [word for name in MIXED for word in ("--device", f"RTX {name}")]


@pytest.mark.parametrize(
    ("words", "sign", "first"),
    [
        (("recommend", "--on", "rtx4090"), "ranking ", "MODEL"),
        (
            ("plan", "qwen3:235b-a22b", *DEVICES, "--ram", "256GiB@60"),
            "planning ",
            "conversations ×",
        ),
        (("plan", "qwen3:8b", "--users", "50", "--on", "all"), "sizing ", "BOARD"),
    ],
)
def test_what_takes_a_while_says_what_it_is_at_until_there_is_an_answer(
    terminal, words, sign, first
):
    assert_waited(terminal(*words, program=IMPATIENT), sign, first)


def test_who_waits_for_a_probe_is_told_so_until_a_slow_tool_has_answered(home, terminal):
    tool = home.folder / "bin" / "mx-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nsleep 1.2\n")
    tool.chmod(0o755)
    screen = terminal("probe", PATH=f"{tool.parent}:{os.environ['PATH']}")

    assert_waited(screen, "looking at this machine …", "DEVICE")


def assert_waited(screen, sign, first):
    """One line that is drawn over, and gone before the answer."""
    wait_for(lambda: first in screen.text)
    drawn = re.match(rf"(\r\x1b\[K{sign}[^\r\n]* m?s)+\r\x1b\[K", screen.text)

    assert drawn, screen.text
    assert sign not in screen.text[drawn.end() :]
