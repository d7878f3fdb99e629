import io
import threading

from edgellm.cli.waiting import Waiting


class Screen(io.StringIO):
    def __init__(self):
        super().__init__()
        self.is_drawn = threading.Event()

    def isatty(self):
        return True

    def write(self, text):
        if "waiting" in text:
            self.is_drawn.set()
        return super().write(text)


def test_a_sign_is_drawn_until_there_is_something_to_show_and_then_it_is_gone(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    with Waiting(lambda: "waiting …", screen):
        assert screen.is_drawn.wait(timeout=60)

    assert screen.getvalue().startswith("\r\x1b[Kwaiting … ")
    assert screen.getvalue().endswith("\r\x1b[K")


def test_a_sign_is_never_wider_than_the_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    with Waiting(lambda: "waiting for something long", screen):
        assert screen.is_drawn.wait(timeout=60)

    assert screen.getvalue().split("\r\x1b[K")[1] == "waiting for somethi"


def test_what_is_there_at_once_needs_no_sign(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    with Waiting(lambda: "waiting …", screen):
        pass

    assert screen.getvalue() == ""


def test_nothing_is_drawn_into_a_file():
    file = io.StringIO()
    with Waiting(lambda: 1 // 0, file) as waiting:  # the words are not even asked for
        waiting.end()

    assert file.getvalue() == ""
