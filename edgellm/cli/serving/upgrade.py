"""The errand of `up`: download the real model while the demo chats, then swap them.

Whatever becomes of the download, the demo's server stays; and whoever quits is not kept waiting
for it: what came so far is resumed the next time.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.preparing.best import Choice
from edgellm.cli.preparing.prepare import Prepared, prepare
from edgellm.cli.preparing.requested import RequestedModel
from edgellm.cli.preparing.resolve import resolve
from edgellm.cli.progress import ProgressLine, goes_on
from edgellm.cli.serving.engines import Fleet, describe
from edgellm.config import Config
from edgellm.errors import EdgellmError, ModelNotFound
from edgellm.models.fetching.download import Progress
from edgellm.probe.asked.asking import ask
from edgellm.probe.hardware import Hardware
from edgellm.status import Download

Errand = Callable[[Fleet], Awaitable[None]]
Fetch = Callable[[Config, Hardware, Choice, Progress], Prepared]
_T = TypeVar("_T")
_log = logging.getLogger("edgellm.cli")


def fetch(
    flags: ModelOptions, config: Config, hardware: Hardware, wished: Choice, progress: Progress
) -> Prepared:
    """The quantization that was offered; where the repository has it no more, the next best."""
    try:
        resolved = resolve(f"{wished.name}-{wished.plan.quant}", config)
    except ModelNotFound:
        resolved = resolve(wished.name, config)
    one = RequestedModel.of(wished.name, config, flags)
    return prepare(
        one.with_extras(resolved),
        hardware,
        wished.goal,
        name=one.settings.name or wished.name,
        fetching=lambda found, wanted: found.fetch(wanted, progress),
    )


def upgrade(
    config: Config,
    hardware: Hardware,
    wished: Choice | None,
    say: Callable[[str], None],
    shown_as: str | None,
    fetch: Fetch,
    say_last: Callable[[str], None] | None = None,
) -> Errand:
    """`shown_as`: the name on a progress line; None draws no line, the screen shows it instead.

    `say_last` is told where a download goes on that the server's end broke off; else `say` is.
    """

    async def errand(fleet: Fleet) -> None:
        if wished is not None:
            line = ProgressLine(shown_as) if shown_as else None
            await _Upgrade(fleet, wished, say, say_last or say, line).run(
                partial(fetch, config, hardware, wished)
            )

    return errand


@dataclass(slots=True)
class _Upgrade:
    fleet: Fleet
    wished: Choice
    say: Callable[[str], None]
    say_last: Callable[[str], None]
    line: ProgressLine | None
    has_left: threading.Event = field(default_factory=threading.Event)

    async def run(self, fetch: Callable[[Progress], Prepared]) -> None:
        try:
            prepared = await unattended(lambda: fetch(self._show))
            if self.line:
                self.line.end()
            (old,) = self.fleet.models
            await self.fleet.swap(old, prepared)
        except Exception as error:  # noqa: BLE001 - not lost: it is shown; the demo must go on
            self._failed(error)
        except asyncio.CancelledError:
            self._broken_off()
            raise
        else:
            self.fleet.download = None
            self.say(f"now serving {prepared.name} ({describe(prepared.plan)}) instead of the demo")
        finally:
            self.has_left.set()

    def _show(self, done: int, total: int, rate: float | None) -> None:
        """Raises EdgellmError when nobody waits for it any more."""
        if self.has_left.is_set():
            raise EdgellmError("the server has stopped")
        self.fleet.download = Download(
            name=self.wished.name, done_bytes=done, total_bytes=total, rate_bytes_s=rate
        )
        if self.line:
            self.line(done, total, rate)

    def _broken_off(self) -> None:
        if self.line:
            self.line.end()
        part = self.fleet.download
        if part and (words := goes_on(part.done_bytes, part.total_bytes or 0)):
            self.say_last(f"{self.wished.name}: {words}")

    def _failed(self, error: Exception) -> None:
        words = str(error)
        if not isinstance(error, EdgellmError):
            _log.error("the download broke", exc_info=error)
            words = f"{type(error).__name__}: {error}"
        done = self.fleet.download.done_bytes if self.fleet.download else 0
        self.fleet.download = Download(name=self.wished.name, done_bytes=done, error=words)
        self.say(f"{self.wished.name} did not come: {words}; the demo goes on")


async def unattended(work: Callable[[], _T]) -> _T:
    """On a daemon thread: unlike asyncio.to_thread's, the process does not wait for its end."""
    return await asyncio.wrap_future(ask(work, "edgellm-download"))
