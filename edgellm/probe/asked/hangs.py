"""Which programs gave no answer, so that the next probe doesn't wait for them again.

A vendor's tool that hangs (a card that fell off its bus, a driver that is half gone) hangs the
next time too, and would cost each probe its whole time-out. It is left alone for ten minutes, after
every further hang for twice as long, and no longer than this boot lasts; what it would have told
stays unknown, and the fault says since when and until when. `edgellm doctor` asks at once.

Two are asked every time, since nothing can be planned without them: llama.cpp's list of devices,
and a Mac's sysctl.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edgellm.probe import registry
from edgellm.probe.asked.boots import boot_id
from edgellm.probe.asked.keeping import alone, folder, keep, kept
from edgellm.probe.host import host
from edgellm.probe.sources import (
    Output,
    Silence,
    Sources,
    SourcesBehind,
    SystemSources,
    capture_name,
)

_FIRST_S: Final = 600.0
_ALWAYS_ASKED: Final = frozenset(map(capture_name, (registry.COMMAND, host.SYSCTL)))


class Hang(msgspec.Struct, frozen=True):
    message: str
    at_s: float  # Unix seconds
    rest_s: float  # so long it is left alone


class _Kept(msgspec.Struct, frozen=True):
    boot_id: str
    hangs: dict[str, Hang]  # by the command's name


class HangsRemembered(SourcesBehind):
    """Is a Sources. `ask_again`: everybody is asked; who answers is forgotten, as ever."""

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
        self._path = (place or folder()) / "hangs.json"
        self._lock = threading.Lock()  # readers run side by side
        self._boot_id = boot_id(sources)
        self._hangs: dict[str, Hang] = {}
        self._hangs = self._told()

    def run(self, argv: tuple[str, ...], timeout_s: float) -> Output | Silence:
        name = capture_name(argv)
        if name in _ALWAYS_ASKED:
            return self._sources.run(argv, timeout_s)
        before = self._hangs.get(name)
        if before is not None and not self._ask_again:
            ago_s = self._clock() - before.at_s
            if 0 <= ago_s < before.rest_s:
                return Silence("timeout", _left_alone(before, ago_s))
        answer = self._sources.run(argv, timeout_s)
        if isinstance(answer, Silence) and answer.kind == "timeout":
            rest_s = _FIRST_S if before is None else 2 * before.rest_s
            self._note(name, Hang(answer.message, self._clock(), rest_s))
        elif before is not None:
            self._note(name, None)
        return answer

    def _note(self, name: str, hang: Hang | None) -> None:
        """Other probes write to the same file: theirs is kept."""
        with self._lock, alone(self._path):
            self._hangs = self._told()
            if hang is None:
                self._hangs.pop(name, None)
            else:
                self._hangs[name] = hang
            if self._boot_id is not None:
                keep(self._path, _Kept(self._boot_id, self._hangs))

    def _told(self) -> dict[str, Hang]:
        """By the file, if it is of this boot; where none can be read, what is known here."""
        told = kept(self._path, _Kept, _Kept("", {}))
        return dict(told.hangs if told.boot_id == self._boot_id else self._hangs)


def this_machine(*, ask_again: bool = False) -> Sources:
    return HangsRemembered(SystemSources(), ask_again=ask_again)


def _left_alone(hang: Hang, ago_s: float) -> str:
    left_s = hang.rest_s - ago_s
    return (
        f"{hang.message}, {_minutes(ago_s)} ago; not asked again for {_minutes(left_s)} "
        "(edgellm doctor asks at once)"
    )


def _minutes(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} min"
