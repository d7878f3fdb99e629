"""Machines for the probe's tests: captured ones, and one made of a few files and commands."""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from edgellm.probe.sources import NoAnswer, Output, SysrootSources, capture_name

CAPTURES = Path(__file__).parent / "probe" / "captures"
ALL = sorted(place.name for place in CAPTURES.iterdir() if place.is_dir())


def captured(name: str) -> SysrootSources:
    directory = CAPTURES / name
    assert directory.is_dir(), f"no capture {name}"
    return SysrootSources(directory)


class FakeSources:
    """As strict as a machine: what it was not given is absent. Values may be NoAnswer."""

    def __init__(
        self,
        files: Mapping[str, str | NoAnswer] | None = None,
        commands: Mapping[str, object] | None = None,
        system: str = "Linux",
    ) -> None:
        self.system = system
        self.files = dict(files or {})
        self.commands = dict(commands or {})
        self.read: list[str] = []

    def run(self, argv: tuple[str, ...], timeout_s: float) -> Output | NoAnswer:
        answer = self.commands.get(capture_name(argv), NoAnswer("absent", "not given"))
        match answer:
            case Output() | NoAnswer():
                return answer
            case str(text):
                return Output(text)
            case value:
                return Output(json.dumps(value))

    def read_text(self, path: str) -> str | NoAnswer:
        self.read.append(path)
        return self.files.get(path, NoAnswer("absent", "not given"))

    def read_bytes(self, path: str) -> bytes | NoAnswer:
        answer = self.read_text(path)
        return answer if isinstance(answer, NoAnswer | bytes) else answer.encode()

    def list(self, pattern: str) -> tuple[str, ...]:
        depth = pattern.count("/")
        heads = {"/".join(path.split("/")[: depth + 1]) for path in self.files}
        return tuple(sorted(h for h in heads if h.count("/") == depth and fnmatchcase(h, pattern)))

    def real_path(self, path: str) -> str:
        return path
