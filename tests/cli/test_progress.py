import io

import pytest

from edgellm.cli.progress import ProgressLine, goes_on, progress_text
from edgellm.errors import NetworkError
from edgellm.tui.terminal import n_cells


@pytest.fixture(autouse=True)
def an_ordinary_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


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


def test_a_terminal_that_cannot_draw_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    drawn = draw(Screen(), [0.0, 1.0, 5.0, 11.0, 12.0])

    assert "\r" not in drawn
    assert "\x1b" not in drawn
    assert len(drawn.splitlines()) == 3


@pytest.mark.parametrize("n_columns", [30, 60, 79, 100, 140])
@pytest.mark.parametrize("name", ["m", "hf.co/unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF Q4_K_M"])
def test_a_line_is_never_wider_than_the_terminal(name, n_columns):
    text = progress_text(name, 3 << 30, 40 << 30, 24 << 20, n_columns)

    assert len(text) <= n_columns
    assert "8%" in text
    assert name in text or n_columns < len(name) + 60


@pytest.mark.parametrize("n_columns", range(50, 90, 7))
def test_nor_is_one_with_a_name_of_wide_letters(n_columns):
    text = progress_text("/media/通义千问三十亿", 3 << 30, 40 << 30, 24 << 20, n_columns)

    assert n_cells(text) <= n_columns
    assert "8%" in text


def test_the_bar_gets_shorter_before_the_name_loses_its_beginning():
    widths = (60, 36, 30, 24)
    wide, narrow, without, short = (progress_text("qwen3:8b", 1, 4, None, n) for n in widths)

    assert wide == "qwen3:8b ██████··················  25%  1 B of 4 B"
    assert narrow == "qwen3:8b ██········  25%  1 B of 4 B"
    assert without == "qwen3:8b  25%  1 B of 4 B"
    assert short == "…en3:8b  25%  1 B of 4 B"


def broken_off(error, done, total):
    out = Screen()

    def download():
        with ProgressLine("m", out) as line:
            line(done, total, None)
            raise error

    with pytest.raises(type(error)):
        download()
    return out.getvalue().splitlines()


def test_ctrl_c_says_where_the_same_command_goes_on():
    last = broken_off(KeyboardInterrupt(), 2 << 30, 5 << 30)[-1]

    assert last == "the download is broken off: the same command goes on from 2.0 GiB of 5.0 GiB"


def test_an_error_speaks_for_itself():
    assert "goes on" not in broken_off(NetworkError("the hub is away"), 2, 5)[-1]


@pytest.mark.parametrize(("done", "total"), [(0, 5), (5, 5), (3, 0)])
def test_nothing_goes_on_from_nothing_nor_from_all(done, total):
    assert goes_on(done, total) is None


@pytest.mark.parametrize("out", [Screen(), io.StringIO()])
def test_a_download_that_waits_to_be_tried_again_says_so_at_once(out):
    line = ProgressLine("m", out, clock=lambda: 0.0)
    line(5 << 20, 10 << 20, 1 << 20)
    line(5 << 20, 10 << 20, 0.0)
    assert out.getvalue().endswith(
        " 50%  5.0 MiB of 10.0 MiB  nothing comes: trying again" + "\n" * (not out.isatty())
    )
    line(6 << 20, 10 << 20, None)
    line.end()
    assert "6.0 MiB of 10.0 MiB  nothing comes" in out.getvalue()


def test_what_has_come_after_a_wait_has_a_pace_again():
    out = Screen()
    line = ProgressLine("m", out, clock=lambda: 0.0)
    line(5 << 20, 10 << 20, 0.0)
    line(10 << 20, 10 << 20, 1 << 20)
    line.end()
    assert "trying" not in out.getvalue().splitlines()[-1].split("\r")[-1]
