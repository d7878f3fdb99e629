"""Pack edgellm for a machine without network: itself, what it needs, and a llama.cpp.

    .venv/bin/python -m scripts.setup.pack PLACE [...]

scripts/pack starts it, from the repository's root. PLACE becomes a folder or, ending in .tar.gz or
.tar, an archive; scripts/run in it sets up without any network.
"""

import argparse
import os
import shutil
import sys
import tarfile
from pathlib import Path

from edgellm.probe.sources import SystemSources
from edgellm.units import format_bytes
from scripts.setup import carried, packed
from scripts.setup.engine import Engine
from scripts.setup.install import ROOT, THIS_PYTHON
from scripts.setup.machine import Machine, dotted, look
from scripts.setup.packing import Packing, Unpackable
from scripts.setup.progress import Painter
from scripts.setup.target import OLDEST_GLIBC, PLATFORMS, Target, platform_of
from scripts.setup.wheels import TAGS, Wheel, index_base, kinds, wheel

LOG = ROOT / ".venv" / "pack.log"
_ALIASES = {
    "cuda": "cu121",
    "cuda11": "cu118",
    "cuda12": "cu121",
    "cuda13": "cu130",
    "rocm": "rocm72",
}
_ARCHIVES = (".tar.gz", ".tar")
_HELP = """\
Pack edgellm for a machine without network, on one that has it: the checkout, a
wheel of everything that it needs, and a llama.cpp. There: unpack, scripts/run.

  scripts/pack /media/stick/edgellm            a machine like this one
  scripts/pack edgellm.tar.gz --for cuda12     one with an NVIDIA card
  scripts/pack edgellm.tar.gz --platform linux-aarch64 --python 3.11

A llama.cpp for the CPU is always packed: upstream's wheel where there is one,
else one that is compiled here, with a variant for each kind of CPU.
--with-source packs what a machine with a C++ compiler needs to build its own."""
_AFTER = """\
TAG: cpu, cuda11, cuda12, cuda13, rocm, vulkan, metal or upstream's own name, as
cu124. cuda12 is cu121, which every driver for CUDA 12 runs.

  EDGELLM_WHEEL_INDEX   a base URL in place of upstream's index; "none": compile
  CMAKE_ARGS            your own switches for llama.cpp, where it is compiled"""


def main(argv: list[str]) -> int:
    sources, painter = SystemSources(), Painter()
    machine = look(sources)
    asked = _parser(machine).parse_args(argv)
    place = Path(asked.start, asked.place).resolve()
    work = place.with_name(f"{place.name}.{asked.platform}.part")  # wheels of two don't mix
    engine = Engine(
        ROOT, machine, sources, painter, LOG,
        index_base(os.environ.get("EDGELLM_WHEEL_INDEX")), os.environ.get("CMAKE_ARGS", ""),
    )  # fmt: skip
    try:
        if place.exists():
            raise Unpackable(f"{place} exists: remove it, or name another place")
        pythons = sorted(set(asked.python or [THIS_PYTHON]), key=_key, reverse=True)
        target = Target(asked.platform, tuple(pythons), asked.glibc)
        tags = _tags(asked.tags, machine, target)
        LOG.parent.mkdir(exist_ok=True)
        LOG.write_text("")
        root = work / _stem(place) if _is_archive(place) else work
        carried.copy(ROOT, carried.files(ROOT, sources), root)
        packing = Packing(root, engine, target, asked.with_source, asked.dev)
        packed.write(packing.fill(tags))
        packed.write_sums(root)
        _finish(work, root, place, painter)
    except Unpackable as error:
        painter.say(f"edgellm can't be packed: {error}")
        return 1
    _tell(place, painter)
    return 0


def _parser(machine: Machine) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scripts/pack", description=_HELP, epilog=_AFTER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    here = platform_of(machine)
    add = parser.add_argument
    add("place", metavar="PLACE", help="a new folder, or FILE.tar.gz, FILE.tar")
    add("--from", dest="start", default="", help=argparse.SUPPRESS)  # what PLACE is relative to
    add("--for", dest="tags", metavar="TAG", action="append", default=[],
        help="an accelerator (again for several); default: this machine's")  # fmt: skip
    add("--platform", choices=PLATFORMS, default=here, metavar="NAME",
        help=f"{', '.join(PLATFORMS)} (here: {here})")  # fmt: skip
    add("--python", metavar="X.Y", action="append", type=_python,
        help=f"its Python (again for several); default: {THIS_PYTHON}")  # fmt: skip
    oldest = dotted(OLDEST_GLIBC)
    add("--glibc", metavar="X.Y", type=_glibc, default=OLDEST_GLIBC,
        help=f"its C library or an older one; default: {oldest}")  # fmt: skip
    add("--with-source", action="store_true", help="llama.cpp's sources, to compile there")
    add("--dev", action="store_true", help="what scripts/test needs, too")
    return parser


def _python(text: str) -> str:
    try:
        version = _key(text)
    except ValueError:
        version = (0,)
    if len(version) != 2 or version < (3, 11):
        raise argparse.ArgumentTypeError(f"{text!r} is no Python 3.11 or newer, as 3.12 is")
    return text


def _glibc(text: str) -> tuple[int, int]:
    try:
        major, minor = _key(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no version of glibc, as 2.34 is") from None
    return major, minor


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _tags(asked: list[str], machine: Machine, target: Target) -> tuple[str, ...]:
    """Upstream's names, the best first, the CPU's last. Raises Unpackable."""
    wanted = {_ALIASES.get(tag, tag) for tag in asked}
    if not wanted and target.platform == platform_of(machine):
        wanted = set(_own(machine))
    for tag in wanted:
        if tag not in _published(target):
            known = ", ".join(_published(target))
            raise Unpackable(f"there is no {tag} for {target.platform}; there are: {known}")
    wanted.add(_published(target)[-1])
    return tuple(tag for tag in TAGS if tag in wanted)


def _own(machine: Machine) -> list[str]:
    """What suits this machine best, if upstream has it."""
    found = (wheel(machine, kind) for kind in kinds(machine))
    return [one.tag for one in found if isinstance(one, Wheel)][:1]


def _published(target: Target) -> tuple[str, ...]:
    """What upstream publishes, see wheels.py."""
    if not target.is_linux:
        return ("metal",)
    if target.architecture != "x86_64":
        return ("cpu",)
    return tuple(tag for tag in TAGS if tag != "metal")


# ── the folder or archive ────────────────────────────────────────────────────


def _is_archive(place: Path) -> bool:
    return place.name.endswith(_ARCHIVES)


def _stem(place: Path) -> str:
    """What an archive unpacks to."""
    return place.name.removesuffix(".gz").removesuffix(".tar")


def _finish(work: Path, root: Path, place: Path, painter: Painter) -> None:
    """Whole under its name, or not there."""
    if not _is_archive(place):
        work.rename(place)
        return
    painter.say(f"writing {place}")
    beside = work / place.name
    mode = "w:gz" if place.suffix == ".gz" else "w"
    level = {"compresslevel": 1} if place.suffix == ".gz" else {}  # wheels are compressed
    with tarfile.open(beside, mode, **level) as archive:  # type: ignore[call-overload]
        archive.add(root, root.name, filter=_nobodys)
    beside.rename(place)
    shutil.rmtree(work)


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _tell(place: Path, painter: Painter) -> None:
    if _is_archive(place):
        painter.say(
            f"{place}: {format_bytes(place.stat().st_size)}, SHA-256 {packed.sha256_of(place)}\n"
            f"there: tar -xf {place.name} && cd {_stem(place)} && scripts/run"
        )
        return
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    painter.say(f"{place}: {format_bytes(size)}\nthere: cd {place.name} && scripts/run")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("stopped; the same command again goes on from here", file=sys.stderr)
        sys.exit(130)
