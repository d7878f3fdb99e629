"""The terminal UI that ends with the server behind it."""

import threading

from edgellm.cli.serving import screen
from edgellm.cli.serving.screen import Screen

PATIENCE_S = 60.0


class StartingApp:
    """Textual's, of which `close` has looked before it runs."""

    def __init__(self, shown: Screen) -> None:
        self._shown, self._runs = shown, False
        self._looked, self.left = threading.Event(), threading.Event()

    @property
    def is_running(self) -> bool:
        self._looked.set()
        return self._runs

    def run(self) -> None:
        closing = threading.Thread(target=self._shown.close)
        closing.start()
        assert self._looked.wait(PATIENCE_S)
        self._runs = True
        assert self.left.wait(PATIENCE_S), "nobody told it to leave"
        closing.join(PATIENCE_S)

    def exit(self) -> None:
        self.left.set()

    def call_from_thread(self, call) -> None:
        call()


def test_a_server_that_ends_while_its_screen_starts_takes_it_along(monkeypatch):
    shown = Screen()
    app = StartingApp(shown)
    monkeypatch.setattr(screen, "_app", lambda *_: app)
    shown.show("http://127.0.0.1:1", None)
    assert app.left.is_set()


def test_a_server_that_ends_before_has_no_screen(monkeypatch):
    shown = Screen()
    app = StartingApp(shown)
    monkeypatch.setattr(screen, "_app", lambda *_: app)
    shown.close()
    shown.show("http://127.0.0.1:1", None)
    assert not app.left.is_set()
