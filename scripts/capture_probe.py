"""Write down what the probe reads on this machine, so that it can be replayed elsewhere.

    python scripts/capture_probe.py DIR
    edgellm probe --sysroot DIR

What is written is what was asked, word for word: no serial numbers and no host name, but the
kernel's version line, the boot's id and the names of this process's cgroups. Look through it
before you hand it on. A source that was denied is replayed as absent.
"""

import os
import sys
from pathlib import Path

from edgellm.probe.asked.evidence import Evidence, SourceAnswer
from edgellm.probe.detect import examine
from edgellm.probe.sources import Output, SystemSources


def capture(evidence: Evidence, directory: Path) -> None:
    files, commands = directory / "files", directory / "commands"
    files.mkdir(parents=True)
    commands.mkdir()
    if evidence.system != "Linux":
        (directory / "system").write_text(evidence.system + "\n")
    for link, target in sorted(evidence.links.items()):  # a link's own path may lead over another
        _link(files, link, target)
    for said in evidence.answers:
        if isinstance(said.answer, str):
            _write(files / said.source.lstrip("/"), said.answer)
        elif isinstance(said.answer, Output):
            _write_output(commands, said, said.answer)
    for path in evidence.listed:  # found by a pattern and never read: it only has to be there
        place = files / path.lstrip("/")
        if not place.exists():
            _write(place, "")


def _link(files: Path, link: str, target: str) -> None:
    if link == target:
        return
    place, leads_to = files / link.lstrip("/"), files / target.lstrip("/")
    leads_to.mkdir(parents=True, exist_ok=True)
    if place.resolve() == leads_to.resolve():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(os.path.relpath(leads_to, place.parent))


def _write_output(commands: Path, said: SourceAnswer, output: Output) -> None:
    (commands / f"{said.source}.out").write_text(output.text)
    if output.errors:
        (commands / f"{said.source}.err").write_text(output.errors)
    if output.code:
        (commands / f"{said.source}.code").write_text(f"{output.code}\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit("usage: python scripts/capture_probe.py DIR    (DIR must not exist yet)")
    asked = Evidence(SystemSources())
    examine(asked)
    capture(asked, Path(sys.argv[1]))
    print(f"{len(asked.answers)} answers written to {sys.argv[1]}")
