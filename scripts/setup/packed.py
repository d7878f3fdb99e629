"""What scripts/pack laid beside the checkout, in wheels/: all that a set-up without network needs.

    wheels/pack.toml              what it was packed for, and the engines in it
    wheels/SHA256SUMS             every file of the pack, for `sha256sum -c` at its root
    wheels/NAME.whl               what edgellm needs, and pip; with --with-source a package, too
    wheels/engine/TAG/            llama-cpp-python for an accelerator; libraries that it may lack

Where there is one, pip and uv look nowhere else.
"""

import hashlib
import json
import os
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.setup.machine import Machine, dotted
from scripts.setup.target import Target, Version, glibc_misfit
from scripts.setup.wheels import TITLES, Kind, kind_of, unfit

FOLDER = "wheels"
ABOUT = "pack.toml"
SUMS = "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class PackedEngine:
    tag: str  # "cu124", as upstream's index names it
    wheel: str  # its path below wheels/
    made: str  # for people: "upstream's"
    glibc: Version | None  # the oldest that its libraries run with; None: not Linux's
    cpu_flags: tuple[str, ...] = ()  # what the CPU must have
    libraries: tuple[str, ...] = ()  # their paths below wheels/: for machines that lack them


@dataclass(frozen=True, slots=True)
class Pack:
    folder: Path  # wheels/
    target: Target
    engines: tuple[PackedEngine, ...]  # the best first
    has_source: bool  # llama-cpp-python's, with what compiles it but the compiler
    for_tests: bool  # what scripts/test needs is there, too

    def settings(self) -> dict[str, str]:
        """For the environment of pip and uv: this folder, no index, nobody's own configuration."""
        here = self.folder.resolve().as_uri()
        return {
            "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": here, "PIP_CONFIG_FILE": os.devnull,
            "UV_NO_INDEX": "1", "UV_FIND_LINKS": here, "UV_NO_CONFIG": "1",
            "UV_OFFLINE": "1", "UV_PYTHON_DOWNLOADS": "never",
        }  # fmt: skip

    @property
    def install_pip(self) -> tuple[str, ...]:
        """Under these settings: a pip runs from its wheel, too."""
        wheel = max(self.folder.glob("pip-*.whl"), default=self.folder / "pip.whl")
        quiet = ("install", "--quiet", "--disable-pip-version-check")
        return (sys.executable, str(wheel / "pip"), *quiet, "pip")

    def engine(self, machine: Machine, kind: Kind) -> PackedEngine | str:
        """The best for this backend; else a clause that says why there is none."""
        whys = []
        for engine in self.engines:
            if kind_of(engine.tag) == kind:
                if (why := _unfit(engine, machine)) is None:
                    return engine
                whys.append(f"the one for {engine.tag} does not fit: {why}")
        return "; ".join(whys) or f"none was packed for {TITLES[kind]}: scripts/pack --for {kind}"


def _unfit(engine: PackedEngine, machine: Machine) -> str | None:
    if engine.glibc and (why := glibc_misfit(machine, engine.glibc)):
        return why
    if lacking := sorted(set(engine.cpu_flags) - machine.cpu_flags):
        return f"it needs a CPU with {', '.join(lacking)}"
    return unfit(machine, engine.tag)


def read(root: Path) -> Pack | None:
    """None where there is no pack. Raises ValueError for one that another edgellm made."""
    folder = root / FOLDER
    try:
        told = tomllib.loads((folder / ABOUT).read_text("utf-8"))
    except FileNotFoundError:
        return None
    try:
        target = Target(told["platform"], tuple(told["pythons"]), _version(told["glibc"]))
        engines = tuple(_engine(row) for row in told.get("engine", ()))
        return Pack(folder, target, engines, told["has_source"], told["for_tests"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / ABOUT} is not of this edgellm: {error}") from error


def _engine(row: dict[str, Any]) -> PackedEngine:
    return PackedEngine(
        row["tag"], row["wheel"], row["made"], _version(row["glibc"]) if row["glibc"] else None,
        tuple(row["cpu_flags"]), tuple(row["libraries"]),
    )  # fmt: skip


def _version(text: str) -> Version:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def write(pack: Pack) -> None:
    """pack.toml. JSON's strings, lists and booleans are TOML's, too."""
    target = pack.target
    top = {
        "platform": target.platform,
        "pythons": target.pythons,
        "glibc": dotted(target.glibc),
        "has_source": pack.has_source,
        "for_tests": pack.for_tests,
    }
    lines = ["# Written by scripts/pack.", *_rows(top)]
    for engine in pack.engines:
        glibc = dotted(engine.glibc) if engine.glibc else ""
        lines += ["", "[[engine]]", *_rows(asdict(engine) | {"glibc": glibc})]
    (pack.folder / ABOUT).write_text("\n".join(lines) + "\n", "utf-8")


def _rows(fields: dict[str, object]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in fields.items()]


# ── the list of sums ─────────────────────────────────────────────────────────


def write_sums(root: Path) -> None:
    """Of every file below `root`, the list itself left out."""
    sums = root / FOLDER / SUMS
    files = sorted(path for path in root.rglob("*") if path.is_file() and path != sums)
    rows = (f"{sha256_of(path)}  {path.relative_to(root).as_posix()}\n" for path in files)
    sums.write_text("".join(rows), "utf-8")


def damaged(root: Path) -> str | None:
    """Which file in wheels/ is not what was packed, or was not packed at all. The checkout is
    nobody's business here: who has it may change it."""
    folder = root / FOLDER
    try:
        listed = dict(_listed((folder / SUMS).read_text("utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        return f"{FOLDER}/{SUMS} can't be read: {error}"
    here = {path.relative_to(root).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(here - listed.keys() - {f"{FOLDER}/{SUMS}"}):
        return f"{name} was not packed: {SUMS} does not list it. Remove it"
    for name, sha256 in listed.items():
        if not name.startswith(f"{FOLDER}/"):
            continue
        if name not in here:
            return f"{name} is missing: carry the pack over again"
        if sha256_of(root / name) != sha256:
            return f"{name} is not what was packed, its SHA-256 differs: carry the pack over again"
    return None


def _listed(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        sha256, mark, name = line.partition("  ")
        if not mark:
            raise ValueError(f"no sum and name in {line[:80]!r}")
        yield name, sha256


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
