"""Which files of this checkout are carried to another machine, and how they get there."""

import shutil
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from edgellm.probe.sources import Output, Sources

_MADE_HERE = frozenset(("__pycache__", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"))


def files(root: Path, sources: Sources) -> tuple[PurePath, ...]:
    """What pyproject.toml lists for the source package; of that what git knows, where there is git.
    Sorted, below `root`."""
    listed = _listed(root)
    known = tuple(_known_to_git(root, sources)) or tuple(_walked(root, listed))
    return tuple(sorted(path for path in known if path.parts[0] in listed and _is_ours(root, path)))


def _listed(root: Path) -> frozenset[str]:
    with (root / "pyproject.toml").open("rb") as file:
        included = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    return frozenset((*included, "pyproject.toml"))


def _known_to_git(root: Path, sources: Sources) -> Iterator[PurePath]:
    """Nothing where there is no git, no repository, or one that something else is in."""
    answer = sources.run(("git", "-C", str(root), "ls-files", "-z"), 20.0)
    if isinstance(answer, Output) and answer.code == 0:
        yield from (PurePath(name) for name in answer.text.split("\0") if name)


def _walked(root: Path, listed: Iterable[str]) -> Iterator[PurePath]:
    for name in listed:
        top = root / name
        for path in top.rglob("*") if top.is_dir() else (top,):
            yield path.relative_to(root)


def _is_ours(root: Path, path: PurePath) -> bool:
    """git lists what was deleted and not yet committed, too."""
    return (root / path).is_file() and _MADE_HERE.isdisjoint(path.parts)


def copy(root: Path, paths: Iterable[PurePath], place: Path) -> None:
    for path in paths:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, place / path)
