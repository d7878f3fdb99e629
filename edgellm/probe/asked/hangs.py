"""Programs that hung are skipped for a while, so that not every probe waits for them.

A vendor's tool that hangs (a card that fell off its bus, a driver that is half gone) hangs the
next time too, and would cost each probe its whole time-out. It is skipped for ten minutes, after
every further hang for twice as long, and never beyond a restart; what it would have told stays
unknown, and the fault says since when and for how long. `edgellm doctor` asks at once.

Two are never skipped, since nothing can be planned without them: llama.cpp's list of devices,
and a Mac's sysctl.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edgellm.probe import registry
from edgellm.probe.asked import cache_files
from edgellm.probe.asked.boot_id import boot_id
from edgellm.probe.host import host
from edgellm.probe.sources import (
    ForwardingSources,
    NoAnswer,
    Output,
    Sources,
    SystemSources,
    capture_name,
)

_FIRST_S: Final = 600.0
_ALWAYS_ASKED: Final = frozenset(map(capture_name, (registry.COMMAND, host.SYSCTL)))


class Hang(msgspec.Struct, frozen=True):
    message: str
    at_s: float  # Unix seconds
    skip_s: float  # from then on


class _Kept(msgspec.Struct, frozen=True):
    boot_id: str
    hangs: dict[str, Hang]  # by the command's name


class HangSkippingSources(ForwardingSources):
    """A Sources. `ask_again`: nothing is skipped. A program that answers is no longer skipped."""

    def __init__(
        self,
        sources: Sources,
        place: Path | None = None,
        *,
        ask_again: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(sources)
        self._ask_again, self._clock = ask_again, clock
        self._path = (place or cache_files.folder()) / "hangs.json"
        self._lock = threading.Lock()  # readers run side by side
        self._boot_id = boot_id(sources)
        self._hangs: dict[str, Hang] = {}
        self._hangs = self._load()

    def run(self, argv: tuple[str, ...], timeout_s: float) -> Output | NoAnswer:
        name = capture_name(argv)
        if name in _ALWAYS_ASKED:
            return self._sources.run(argv, timeout_s)
        before = self._hangs.get(name)
        if before is not None and not self._ask_again:
            ago_s = self._clock() - before.at_s
            if 0 <= ago_s < before.skip_s:
                return NoAnswer("timeout", _skipped(before, ago_s))
        answer = self._sources.run(argv, timeout_s)
        if isinstance(answer, NoAnswer) and answer.kind == "timeout":
            skip_s = _FIRST_S if before is None else 2 * before.skip_s
            self._note(name, Hang(answer.message, self._clock(), skip_s))
        elif before is not None:
            self._note(name, None)
        return answer

    def _note(self, name: str, hang: Hang | None) -> None:
        """Reads the file again before it is written: other probes write to it, too."""
        with self._lock, cache_files.locked(self._path):
            self._hangs = self._load()
            if hang is None:
                self._hangs.pop(name, None)
            else:
                self._hangs[name] = hang
            if self._boot_id is not None:
                cache_files.save(self._path, _Kept(self._boot_id, self._hangs))

    def _load(self) -> dict[str, Hang]:
        """What the file says, if it is of this boot; else what this process knows."""
        told = cache_files.load(self._path, _Kept, _Kept("", {}))
        return dict(told.hangs if told.boot_id == self._boot_id else self._hangs)


def this_machine(*, ask_again: bool = False) -> Sources:
    """The sources of this machine. `ask_again`: also the programs that hung before."""
    return HangSkippingSources(SystemSources(), ask_again=ask_again)


def _skipped(hang: Hang, ago_s: float) -> str:
    left_s = hang.skip_s - ago_s
    return (
        f"{hang.message}, {_minutes(ago_s)} ago; not asked again for {_minutes(left_s)} "
        "(edgellm doctor asks at once)"
    )


def _minutes(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} min"
