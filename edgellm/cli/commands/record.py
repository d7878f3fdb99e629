"""`edgellm record FILE`: keeps what a server tells, for `edgellm top --replay`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import options

if TYPE_CHECKING:
    from edgellm.cli.serving.client import Client
    from edgellm.tui.told.recording import Recorder


def record(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Made, or continued if it is a recording.")
    ],
    host: options.Host = None,
    interval: Annotated[
        float, typer.Option(help="Seconds between two looks.", metavar="S", min=0.1)
    ] = 1.0,
    seconds: Annotated[
        float | None, typer.Option(help="Then stop; else at Ctrl-C.", metavar="S", min=0.1)
    ] = None,
) -> None:
    """Record what a server tells, to replay it with `top`.

    Models, devices, samples and log, once a second, to a compact file that only grows; what was
    recorded is on the disk a second later, so a power cut loses no more. A server that is away is
    waited for; one that never came is an error.

    \b
      edgellm record night.rec
      edgellm top --replay night.rec --speed 60
    """
    from edgellm.cli.flags.addresses import named_url
    from edgellm.cli.output import say
    from edgellm.cli.serving.find import the_server
    from edgellm.errors import NotServing, StorageError

    is_there = file.exists()
    url = named_url(host) or the_server(or_model="")[0]
    try:
        n_moments = _recorded(file, url, interval, seconds)
        n_bytes = file.stat().st_size
    except OSError as error:
        raise StorageError(f"{file} can't be written: {error.strerror}") from error
    if n_moments == 0:
        if not is_there:
            file.unlink()
        raise NotServing(
            f"nothing was recorded: {url} did not answer",
            hint="is it running, and is that its address? edgellm ps",
        )
    count = "1 moment" if n_moments == 1 else f"{n_moments} moments"
    say(f"{count} recorded; {file} has {n_bytes:,} bytes")


def _recorded(file: Path, url: str, interval_s: float, seconds: float | None) -> int:
    """How many moments. Ctrl-C ends it as time does."""
    from edgellm.cli.serving.client import Client
    from edgellm.tui.told.recording import Recorder

    with file.open("a+b") as kept, Client(url) as client:
        recorder = Recorder(kept)
        try:
            _follow(client, recorder, interval_s, seconds)
        except KeyboardInterrupt:
            pass
        finally:
            recorder.flush()
        return recorder.n_moments


def _follow(
    client: "Client", recorder: "Recorder", interval_s: float, seconds: float | None
) -> None:
    """Until `seconds` are over, however long an interval is; None: until Ctrl-C."""
    import time
    from math import inf

    from edgellm.errors import NotServing

    next_s = time.monotonic()
    ends_s = inf if seconds is None else next_s + seconds
    while time.monotonic() < ends_s:
        try:
            recorder.add(time.time(), client.status())
        except NotServing:
            recorder.flush()  # it may come back; the gap in the times tells
        if interval_s >= 1:
            recorder.flush()
        now_s = time.monotonic()
        next_s = max(next_s + interval_s, now_s)
        time.sleep(max(0.0, min(next_s, ends_s) - now_s))
