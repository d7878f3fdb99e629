"""`edgellm top`: the terminal UI on a server that runs, or on a recording."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from edgellm.cli.flags import options


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
    from edgellm.cli.serving.find import the_only
    from edgellm.cli.serving.screen import watch

    url = named_url(host)
    if url is None:
        here = the_only()
        url = here.url if here else url_of("127.0.0.1")
    watch(url, start_screen="chat" if chat else "top")


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
