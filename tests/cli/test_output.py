import io

from edgellm.cli.output import print_json, say_error
from edgellm.cli.progress import ProgressLine, progress_text
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


def test_an_error_is_a_message_and_a_hint_on_stderr(capsys):
    say_error(BadRequest("too long", hint="make it shorter"))

    out, err = capsys.readouterr()
    assert out == ""
    assert err == "edgellm: too long\n  → make it shorter\n"


def test_an_error_without_a_hint_has_one_line(capsys):
    say_error(BadRequest("too long"))

    assert capsys.readouterr().err == "edgellm: too long\n"


def test_progress_tells_how_much_and_how_long():
    text = progress_text("qwen3:8b", 1 << 30, 4 << 30, 24 << 20)

    assert text == (
        "qwen3:8b ██████··················  25%  1.0 GiB of 4.0 GiB  24.0 MiB/s  2m08s left"
    )


def test_progress_of_nothing_is_complete():
    assert "100%" in progress_text("empty", 0, 0, None)


class Screen(io.StringIO):
    def isatty(self):
        return True


def draw(out, seconds):
    now = iter(seconds)
    line = ProgressLine("m", out, clock=lambda: next(now))
    for i, _ in enumerate(seconds):
        line(i, 10, None)
    line.end()
    return out.getvalue()


def test_on_a_terminal_one_line_is_drawn_over_at_most_ten_times_a_second():
    drawn = draw(Screen(), [0.0, 0.01, 0.02, 0.2, 0.21])

    assert drawn.count("\r") == 3  # the first, the one at 0.2 s, and the last state
    assert drawn.endswith("\n")


def test_elsewhere_a_line_is_written_now_and_then():
    drawn = draw(io.StringIO(), [0.0, 1.0, 5.0, 11.0, 12.0])

    assert "\r" not in drawn
    assert len(drawn.splitlines()) == 3


def test_a_download_that_never_began_draws_nothing():
    out = Screen()
    ProgressLine("m", out).end()

    assert out.getvalue() == ""
