"""The errand of `up`: download the real model while the demo chats, then swap them."""

import asyncio
from collections.abc import Awaitable, Callable

from edgellm.cli.best import Choice
from edgellm.cli.engines import Fleet, describe
from edgellm.cli.prepare import Prepared, prepare
from edgellm.cli.progress import ProgressLine
from edgellm.cli.resolve import resolve
from edgellm.config import Config
from edgellm.errors import EdgellmError, ModelNotFound
from edgellm.models.download import Progress
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Goal
from edgellm.status import Download
from edgellm.units import parse_bytes

Errand = Callable[[Fleet], Awaitable[None]]


def upgrade(
    config: Config,
    hardware: Hardware,
    wished: Choice | None,
    say: Callable[[str], None],
    shown_as: str | None,
) -> Errand:
    """`shown_as`: the name on a progress line; None draws no line, the screen shows it instead."""

    async def errand(fleet: Fleet) -> None:
        if wished is None:
            return
        line = ProgressLine(shown_as) if shown_as else None

        def progress(done: int, total: int, rate: float | None) -> None:
            fleet.download = Download(
                name=wished.name, done_bytes=done, total_bytes=total, rate_bytes_s=rate
            )
            if line:
                line(done, total, rate)

        try:
            prepared = await asyncio.to_thread(_fetch, config, hardware, wished, progress)
            if line:
                line.end()
            (old,) = fleet.models
            await fleet.swap(old, prepared)
        except EdgellmError as error:
            done = fleet.download.done_bytes if fleet.download else 0
            fleet.download = Download(name=wished.name, done_bytes=done, error=str(error))
            say(f"{wished.name} did not come: {error}; the demo goes on")
            return
        fleet.download = None
        say(f"now serving {prepared.name} ({describe(prepared.plan)}) instead of the demo")

    return errand


def _fetch(config: Config, hardware: Hardware, wished: Choice, progress: Progress) -> Prepared:
    """The quantization that was offered; where the repository has it no more, the next best."""
    goal = Goal(reserve_bytes=parse_bytes(config.reserve) if config.reserve else None)
    try:
        resolved = resolve(f"{wished.name}-{wished.plan.quant}", config)
    except ModelNotFound:
        resolved = resolve(wished.name, config)
    return prepare(resolved, hardware, goal, name=wished.name, progress=progress)
