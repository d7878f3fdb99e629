"""The terminal UI in front of a server: one that somebody else runs, or one that ends with it."""

import signal
import threading
import time
from functools import partial
from types import FrameType

from edgellm.cli.flags.keys import key_for
from edgellm.cli.serving.trust import transport_for
from edgellm.cli.signals import handled_by
from edgellm.tui.app import StartScreen, TopApp
from edgellm.tui.told.auth import Key

_LOOK_S = 0.02  # a screen takes a moment until it runs


def watch(url: str, *, start_screen: StartScreen = "top") -> None:
    """Until the user quits; the server goes on. Raises BadRequest without a terminal to draw on,
    ConfigError."""
    _app(url, partial(key_for, url), start_screen).run()


class Screen:
    """As long as the server behind it lives. `close` may come from any thread."""

    def __init__(self) -> None:
        self._app: TopApp | None = None
        self._lock = threading.Lock()
        self._is_over = False

    def show(self, url: str, api_key: Key) -> None:
        """Returns when the user quits, or on SIGTERM or SIGHUP; the terminal is whole again."""
        app = _app(url, api_key)
        with self._lock:
            if self._is_over:
                return
            self._app = app

        def leave(_number: int, _: FrameType | None) -> None:
            app.exit()

        try:
            with handled_by({signal.SIGTERM: leave, signal.SIGHUP: leave}):
                app.run()
        finally:
            with self._lock:
                self._app = None

    def close(self) -> None:
        """Returns when it is told to leave, for which it has to run."""
        with self._lock:
            self._is_over = True
        while not self._has_left():
            time.sleep(_LOOK_S)

    def _has_left(self) -> bool:
        with self._lock:
            if self._app is not None and self._app.is_running:
                self._app.call_from_thread(self._app.exit)
                return True
            return self._app is None


def _app(url: str, api_key: Key, start_screen: StartScreen = "top") -> TopApp:
    return TopApp(url, api_key=api_key, start_screen=start_screen, transport=transport_for(url))
