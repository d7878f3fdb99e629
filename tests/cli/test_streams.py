"""Commands whose standard streams are closed, full, or of another encoding: real processes."""

import codecs
import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from edgellm.cli.streams import ascii_or_question_mark, ascii_or_utf8

EDGELLM = (sys.executable, "-m", "edgellm")


def shell(line, **env):
    """`line` with the program in "$@"."""
    return subprocess.run(
        ("sh", "-c", line, "sh", *EDGELLM),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=os.environ | env,
        timeout=60,
        check=False,
    )


def on_terminal(*words, **env):
    """What a terminal is sent."""
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        (*EDGELLM, *words), stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | env
    )
    os.close(theirs)
    sent = b""
    with contextlib.suppress(OSError):  # Linux tells its end so
        while part := os.read(ours, 65536):
            sent += part
    os.close(ours)
    assert program.wait(timeout=60) == 0
    return sent


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("ascii", b"-> 4x | ?"), ("latin-1", b"-> 4\xd7 | ?"), ("utf-8", "→ 4× │ 你".encode())],
)
def test_what_an_encoding_lacks_is_written_as_something_like_it(encoding, written):
    codecs.register_error("test.ascii_or_question_mark", ascii_or_question_mark)

    assert "→ 4× │ 你".encode(encoding, "test.ascii_or_question_mark") == written


def test_in_the_c_locale_what_is_said_passes_and_what_is_drawn_is_ascii():
    codecs.register_error("test.ascii_or_utf8", ascii_or_utf8)

    assert "→ 你 █…".encode("ascii", "test.ascii_or_utf8") == "-> 你 #...".encode()


@pytest.mark.parametrize(
    ("locale", "is_ascii"), [
        ({"LC_ALL": "C"}, True), ({"LC_ALL": "C.UTF-8"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
    ],
)  # fmt: skip
def test_a_terminal_of_the_c_locale_is_sent_ascii(locale, is_ascii):
    assert sent_with(locale).isascii() is is_ascii


@pytest.mark.skipif(sys.platform != "linux", reason="what Python has put in its place is lost")
@pytest.mark.parametrize("name", ["LANG", "LC_CTYPE"])
def test_the_c_locale_may_be_named_as_every_locale(name):
    assert sent_with({name: "C"}).isascii()


def sent_with(locale):
    unnamed = dict.fromkeys(("LC_ALL", "LC_CTYPE", "LANG"), "")
    return on_terminal("plan", "demo", TERM="xterm", **unnamed | locale)


def test_a_pipe_of_the_c_locale_is_sent_what_there_is():
    assert "█" in shell('"$@" plan demo', LC_ALL="C").stdout.decode()


def test_a_byte_of_a_name_that_is_no_text_is_written_as_it_is():
    codecs.register_error("test.ascii_or_question_mark", ascii_or_question_mark)
    name = os.fsdecode(b"/mod\xe9les/x")

    assert name.encode("utf-8", "test.ascii_or_question_mark") == b"/mod\xe9les/x"


def test_a_plan_is_told_in_an_encoding_that_has_no_bars():
    done = shell('"$@" plan demo', PYTHONUTF8="0", PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert b"#" in done.stdout


@pytest.mark.parametrize("words", ["list", "list --json", "--help", "plan --help"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_exit_code_10(words):
    done = shell(f'"$@" {words} > /dev/full')

    assert done.returncode == 10
    assert done.stderr == b"edgellm: the output can't be written: No space left on device\n"


def test_a_closed_stdout_is_no_bug():
    assert shell('"$@" list >&-').returncode == 0
    assert b"a bug" not in shell('"$@" list >&-').stderr


def test_a_closed_stdin_is_an_empty_one():
    done = shell('"$@" run demo <&-')

    assert done.returncode == 2
    assert b"the prompt is empty" in done.stderr


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder that refuses everybody")
def test_a_home_that_cannot_be_written_is_exit_code_10():
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # by the word, not the parent
    done = shell('"$@" --install-completion bash', HOME="/sys", **named)

    assert done.returncode == 10
    assert b"/sys/.bashrc can't be written" in done.stderr
