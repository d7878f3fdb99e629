"""What the loader finds on this system, and what is laid beside llama.cpp's libraries where it does
not: their run path is their own folder."""

import ctypes
import shutil
import sysconfig
from collections.abc import Iterable
from pathlib import Path


def loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def place_of(name: str) -> Path | None:
    """Where the loader finds "libgomp.so.1"; None: nowhere, or this is no Linux."""
    if not loads(name):
        return None
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    paths = {line.split(None, 5)[-1] for line in maps.splitlines() if "/" in line}
    stem = name.partition(".so")[0]
    found = (Path(path) for path in sorted(paths) if Path(path).name.startswith(f"{stem}.so"))
    return next(found, None)


def lay_beside(libraries: Iterable[Path], site_packages: Path | None = None) -> tuple[str, ...]:
    """Copies those that the loader does not find by itself. Returns their names."""
    site_packages = site_packages or Path(sysconfig.get_path("purelib"))
    laid = []
    for library in libraries:
        if not loads(library.name):
            shutil.copy(library, site_packages / "llama_cpp" / "lib" / library.name)
            laid.append(library.name)
    return tuple(laid)
