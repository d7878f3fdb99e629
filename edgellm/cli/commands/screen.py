"""`edgellm top`, and the screen of `up`."""

import contextlib
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import options

if TYPE_CHECKING:
    from edgellm.tui.app import StartScreen, TopApp
    from edgellm.tui.told.signing import Key


def top(
    host: options.Host = None,
    chat: Annotated[bool, typer.Option("--chat", help="Begin with the chat.")] = False,
    replay: Annotated[
        Path | None,
        typer.Option(help="A recording instead of a server.", metavar="FILE"),
    ] = None,
    speed: Annotated[
        float, typer.Option(help="Seconds of the recording in one.", metavar="N", min=0.01)
    ] = 1.0,
) -> None:
    """Watch a running server, and chat with it.

    Devices, tokens a second, requests, the plan and the log, once a second. The server may go and
    come back; the screen waits for it.

    \b
      edgellm top
      edgellm top --host box:8484
      edgellm top --replay night.rec --speed 60
    """
    if replay is not None:
        _replay(replay, speed)
        return
    from edgellm.cli.flags.addresses import named_url, url_of
    from edgellm.cli.flags.keys import key_for
    from edgellm.cli.serving.find import the_only
    from edgellm.cli.serving.trust import transport_for
    from edgellm.tui.app import TopApp

    url = named_url(host)
    if url is None:
        here = the_only()
        url = here.url if here else url_of("127.0.0.1")
    TopApp(
        url,
        api_key=lambda: key_for(url),
        start_screen="chat" if chat else "top",
        transport=transport_for(url),
    ).run()


def _replay(file: Path, speed: float) -> None:
    """Raises StorageError, BadRequest."""
    from edgellm.cli.output import say
    from edgellm.errors import BadRequest, StorageError
    from edgellm.tui.app import run_replay
    from edgellm.tui.told.recording import Reader, span_of

    with contextlib.ExitStack() as stack:
        try:
            kept = stack.enter_context(file.open("rb"))
            reader = Reader(kept)
            span = span_of(reader)
        except OSError as error:
            raise StorageError(f"{file} can't be read: {error.strerror}") from error
        if span is None:
            raise BadRequest(f"{file} holds no whole moment")
        if reader.is_cut:
            say(f"{file} was cut off; {span.n_moments} moments are whole")
        run_replay(file.name, Reader(kept), span, speed)


class Screen:
    """The TUI as long as the server behind it lives. `close` may come from any thread."""

    def __init__(self) -> None:
        self._app: TopApp | None = None
        self._lock = threading.Lock()
        self._is_over = False

    def show(self, url: str, api_key: "Key", start_screen: "StartScreen" = "top") -> None:
        """Returns when the user quits, or on SIGTERM or SIGHUP; the terminal is whole again."""
        from edgellm.cli.serving.trust import transport_for
        from edgellm.tui.app import TopApp

        transport = transport_for(url)
        app = TopApp(url, api_key=api_key, start_screen=start_screen, transport=transport)
        with self._lock:
            if self._is_over:
                return
            self._app = app

        def leave(number: int, frame: FrameType | None) -> None:
            app.exit()

        before = {
            number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)
        }
        try:
            app.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            with self._lock:
                self._app = None

    def close(self) -> None:
        with self._lock:
            self._is_over = True
            if self._app is not None and self._app.is_running:
                self._app.call_from_thread(self._app.exit)
