"""What the sources answered, and which of them failed: the readers' side of the border.

Readers ask here and get a value or None. Everything that was asked is remembered, so that
`probe --raw` can show it and a capture can be made of it.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from edgellm.probe.asked.asking import ask
from edgellm.probe.hardware import SourceFault
from edgellm.probe.host.numbers import parse_number
from edgellm.probe.sources import NoAnswer, Output, Sources, capture_name
from edgellm.values import frozen

T = TypeVar("T")

Keep = Callable[[str], object]  # of a line: whether it is kept

_FILE_S = 1.0  # a driver answers in microseconds, or never
_KERNEL_S = 10.0  # the kernel itself always does; the thread that asks may wait for its turn


@frozen
class SourceAnswer:
    source: str  # a path, or the name of a command
    answer: str | Output | NoAnswer


class Evidence:
    """Asks the sources for the readers. Thread-safe, as it only appends."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._answers: list[SourceAnswer] = []
        self._faults: list[SourceFault] = []
        self._stuck: set[str] = set()  # sysfs folders in which a read hung
        self.listed: dict[str, None] = {}  # every path that a pattern found, once
        self.links: dict[str, str] = {}  # where links led

    @property
    def system(self) -> str:
        return self._sources.system

    @property
    def faults(self) -> tuple[SourceFault, ...]:
        return tuple(dict.fromkeys(self._faults))

    @property
    def answers(self) -> tuple[SourceAnswer, ...]:
        return tuple(self._answers)

    def fault(self, source: str, message: str) -> None:
        self._faults.append(SourceFault(source, message))

    def text(self, path: str, keep: Keep | None = None) -> str | None:
        """The file's text, stripped of white space and NULs; None for one that is absent, fails
        or is empty. `keep` drops private lines (serial numbers) before anything is recorded."""
        folder = path.rpartition("/")[0]
        if folder in self._stuck:
            return None
        answer = self._read(path)
        if keep is not None and isinstance(answer, str):
            answer = _kept(answer, keep)
        self._answers.append(SourceAnswer(path, answer))
        if isinstance(answer, NoAnswer):
            if answer.kind != "absent":
                self.fault(path, answer.message)
            return None
        return answer.strip("\x00 \t\r\n") or None

    def _read(self, path: str) -> str | NoAnswer:
        """A stuck driver makes reads hang: its other files in the same folder are not tried."""
        is_kernels = path.startswith("/proc/") and not path.startswith("/proc/driver/")
        limit_s = _KERNEL_S if is_kernels else _FILE_S
        try:
            return ask(lambda: self._sources.read_text(path)).result(timeout=limit_s)
        except TimeoutError:
            if path.startswith("/sys/"):
                self._stuck.add(path.rpartition("/")[0])
            return NoAnswer("timeout", f"no answer within {limit_s:g} s")

    def number(self, path: str) -> int | None:
        """For a file that holds one integer, decimal or hexadecimal, as most of sysfs does."""
        text = self.text(path)
        if text is None:
            return None
        found = parse_number(text)
        if found is None:
            self.fault(path, f"{text[:40]!r} is not a number")
        return found

    def list(self, pattern: str) -> tuple[str, ...]:
        found = self._sources.list(pattern)
        self.listed.update(dict.fromkeys(found))
        return found

    def real_path(self, path: str) -> str:
        self.links[path] = self._sources.real_path(path)
        return self.links[path]

    def run(
        self, argv: tuple[str, ...], timeout_s: float, keep: Keep | None = None
    ) -> Output | None:
        name = capture_name(argv)
        answer = self._sources.run(argv, timeout_s)
        if keep is not None and isinstance(answer, Output):
            answer = Output(_kept(answer.text, keep), answer.errors, answer.code)
        self._answers.append(SourceAnswer(name, answer))
        if isinstance(answer, Output):
            return answer
        if answer.kind != "absent":
            self.fault(name, answer.message)
        return None

    def errors_of(self, source: str) -> str:
        """The stderr of a program that was run."""
        outputs = [said.answer for said in self._answers if said.source == source]
        return "".join(answer.errors for answer in outputs if isinstance(answer, Output))

    def ask(self, argv: tuple[str, ...], timeout_s: float, answer_type: type[T]) -> T | None:
        """The JSON that one of our child programs writes, as `answer_type`. None, and a fault, for
        one that fails or writes anything else."""
        name = capture_name(argv)
        output = self.run(argv, timeout_s)
        if output is None:
            return None
        if output.code != 0:
            last = output.errors.strip().rpartition("\n")[2]
            self.fault(name, f"ended with code {output.code}: {last[:200] or 'without a word'}")
            return None
        try:
            return msgspec.json.decode(output.text, type=answer_type)
        except (msgspec.DecodeError, UnicodeError) as error:
            self.fault(name, f"not understood: {error}; it began {output.text[:60]!r}")
            return None


def _kept(text: str, keep: Keep) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if keep(line))
