import io
import os
import pty
import subprocess
import sys

import pytest

from edgellm.tui.terminal import (
    can_draw,
    columns,
    cut,
    has_style,
    is_gone,
    is_in_front,
    n_cells,
    why_not_drawn,
)


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def an_ordinary_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)


def test_a_terminal_is_drawn_on_and_a_file_is_not():
    assert can_draw(Screen())
    assert not can_draw(io.StringIO())
    assert why_not_drawn() is None


@pytest.mark.parametrize(("term", "words"), [("dumb", "TERM is dumb"), ("", "TERM is not set")])
def test_a_terminal_that_cannot_is_not_drawn_on_and_the_reason_is_told(monkeypatch, term, words):
    monkeypatch.setenv("TERM", term)

    assert not can_draw(Screen())
    assert not has_style(Screen())
    assert words in why_not_drawn()


def test_no_color_takes_the_style_and_leaves_the_drawing(monkeypatch):
    assert has_style(Screen())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_style(Screen())
    assert can_draw(Screen())


def test_an_empty_no_color_asks_for_nothing(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")

    assert has_style(Screen())


def test_the_width_is_the_environments_or_the_terminals_or_80(monkeypatch):
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as out:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 61, 0, 0))
        assert columns(out) == 61
        monkeypatch.setenv("COLUMNS", "50")
        assert columns(out) == 50
    os.close(master)
    monkeypatch.setenv("COLUMNS", "many")
    assert columns(io.StringIO()) == 80


def test_wide_letters_take_two_cells_and_marks_on_letters_none():
    assert n_cells("千b\u0301") == 3
    assert [cut("a千b", n) for n in range(5)] == ["", "a", "a", "a千", "a千b"]


def test_a_terminal_whose_window_was_closed_is_gone():
    master, slave = pty.openpty()
    with os.fdopen(slave, "rb", buffering=0) as terminal:
        assert not is_gone(terminal)
        os.close(master)
        assert is_gone(terminal)


def test_a_program_without_input_has_no_terminal_to_lose():
    assert not is_gone(None)


def test_a_program_that_the_shell_runs_behind_is_not_in_front():
    program = (
        "import os, sys\n"
        "from edgellm.tui.terminal import is_in_front\n"
        "os.open(os.ttyname(0), os.O_RDWR)  # so it becomes that of the session\n"
        "print(is_in_front(sys.stdout), flush=True)\n"
        "if not os.fork():\n"
        "    os.setpgid(0, 0)\n"
        "    print(is_in_front(sys.stdout), flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()"
    )
    ours, theirs = pty.openpty()
    subprocess.run(
        (sys.executable, "-c", program),
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, check=True,
    )  # fmt: skip
    told = os.read(ours, 1000).decode().split()
    os.close(theirs)
    os.close(ours)

    assert told == ["True", "False"]
    assert is_in_front(io.StringIO()), "where nobody can say"
