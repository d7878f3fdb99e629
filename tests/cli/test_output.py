import contextlib
import io
import json
import os
import subprocess
import sys
import termios

import pytest

from edgellm.cli.output import agrees, print_json, say, say_error
from edgellm.errors import BadRequest


def test_unknown_is_null_in_json(capsys):
    print_json({"b": None, "a": (1, 2)})

    assert capsys.readouterr().out.split() == [
        "{",
        '"a":',
        "[",
        "1,",
        "2",
        "],",
        '"b":',
        "null",
        "}",
    ]


def test_no_letter_of_json_does_anything_to_the_terminal(capsys):
    said = {"licence": "\x1b[2J\x9b2J\x7f mit – Ä"}
    print_json(said)

    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert json.loads(out) == said


def test_what_an_error_quotes_does_nothing_to_the_terminal(capsys):
    error = BadRequest("unknown: '\x1b[31mred\x1b]0;title\x07'\nmore", hint="not \x1b[2Jred")
    say_error(error)
    say(f"left out: {error}")

    assert capsys.readouterr().err == (
        "edgellm: unknown: 'red'\nmore\n  → not red\nleft out: unknown: 'red'\nmore\n"
    )


def test_an_error_is_a_message_and_a_hint_on_stderr(capsys):
    say_error(BadRequest("too long", hint="make it shorter"))

    out, err = capsys.readouterr()
    assert out == ""
    assert err == "edgellm: too long\n  → make it shorter\n"


def test_an_error_without_a_hint_has_one_line(capsys):
    say_error(BadRequest("too long"))

    assert capsys.readouterr().err == "edgellm: too long\n"


def test_on_a_terminal_an_error_ends_its_lines_between_words(monkeypatch):
    screen, process = os.openpty()
    termios.tcsetwinsize(process, (24, 40))
    with os.fdopen(process, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        message = "of 2 servers here:\n  http://127.0.0.1:8484 and one more do not answer"
        say_error(BadRequest(message, hint="look whether anything holds them up, or end them"))
    told = b""
    with os.fdopen(screen, "rb", 0) as seen, contextlib.suppress(OSError):  # EIO: its end
        while more := seen.read(4096):
            told += more
    assert told.decode().splitlines() == [
        "edgellm: of 2 servers here:",
        "  http://127.0.0.1:8484 and one more",
        "    do not answer",
        "  → look whether anything holds them",
        "    up, or end them",
    ]


def test_progress_that_nobody_reads_any_more_stops_nothing(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stderr", _Written(pipe))
        say("a worker died")
        assert sys.stderr.n_written == 1


class _Written:
    """A text stream that keeps nothing back, so that closing it has nothing left to write."""

    def __init__(self, raw):
        self._raw, self.n_written = raw, 0

    def write(self, text):
        self.n_written += 1
        return self._raw.write(text.encode())

    def flush(self):
        self._raw.flush()


def test_a_word_on_the_way_waits_for_no_heavy_import():
    program = (
        "import sys\n"
        "from edgellm.cli.output import say\n"
        "say('looking …')\n"
        "print([name for name in ('msgspec', 'edgellm.tui') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("[]\n", "looking …\n")


@pytest.mark.parametrize(
    ("typed", "usually_yes", "usually_no"),
    [("\n", True, False), ("Yes\n", True, True), ("no\n", False, False), ("", False, False)],
)
def test_enter_alone_is_the_usual_answer_and_the_end_of_the_input_is_no(
    monkeypatch, typed, usually_yes, usually_no
):
    for usually, agreed in ((True, usually_yes), (False, usually_no)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert agrees("download it?", usually=usually) is agreed
