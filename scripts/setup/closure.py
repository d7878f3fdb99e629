"""Whether a folder of wheels is complete for a machine that is not this one.

pip downloads for another Python and another platform, but asks a requirement's marker
("python_version < '3.12'") about the Python that it runs on itself. So what it brought is followed
through once more, with the target's answers.
"""

import re
import zipfile
from collections.abc import Iterable, Iterator
from email.parser import HeaderParser
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name


def missing(folder: Path, wanted: Iterable[str], markers: dict[str, str]) -> tuple[str, ...]:
    """Of what is wanted, and of what that wants, the requirements that no wheel here has the name
    of. `markers` are the target's."""
    here = {name: list(requirements) for name, requirements in _wheels(folder)}
    lacking: list[str] = []
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(line), "") for line in wanted]
    while todo:
        need, extra = todo.pop()
        if need.marker and not need.marker.evaluate(markers | {"extra": extra}):
            continue
        name = canonicalize_name(need.name)
        if name not in here:
            lacking.append(_plainly(need))
        for one in {"", *need.extras}:
            if name in here and (name, one) not in seen:
                seen.add((name, one))
                todo += ((wants, one) for wants in here[name])
    return tuple(sorted(set(lacking)))


def _plainly(need: Requirement) -> str:
    """Without its marker, which pip would ask about this machine."""
    extras = f"[{','.join(sorted(need.extras))}]" if need.extras else ""
    return f"{need.name}{extras}{need.specifier}"


def _wheels(folder: Path) -> Iterator[tuple[str, list[Requirement]]]:
    """(name, what it wants): several versions of one want what any of them does."""
    found: dict[str, list[Requirement]] = {}
    for wheel in sorted(folder.glob("*.whl")):
        name = canonicalize_name(wheel.name.partition("-")[0])
        found.setdefault(name, []).extend(Requirement(line) for line in required_by(wheel))
    yield from found.items()


def required_by(wheel: Path) -> tuple[str, ...]:
    """The requirements that a wheel's metadata lists."""
    with zipfile.ZipFile(wheel) as opened:
        name = next(n for n in opened.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
        return requirements_of(opened.read(name).decode("utf-8", "replace"))


def requirements_of(metadata: str) -> tuple[str, ...]:
    """Of METADATA, or of a source package's PKG-INFO."""
    return tuple(HeaderParser().parsestr(metadata).get_all("Requires-Dist") or ())
