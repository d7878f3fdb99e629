"""What a worker's program lies in: Python, its packages, llama.cpp's libraries."""

import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import edgellm

_PACKAGES = ("edgellm", "llama_cpp", "numpy", "llguidance", "msgspec")  # some may be editable
_SEARCHED = ("PYTHONPATH", "LD_LIBRARY_PATH")


def code() -> tuple[str, ...]:
    """Folders. Not the one that it was started in, which Python looks into first: it is often the
    home."""
    found = dict.fromkeys((sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()))
    found |= dict.fromkeys(_packages())
    if site.ENABLE_USER_SITE:
        found[site.getusersitepackages()] = None
    for variable in _SEARCHED:
        found |= dict.fromkeys(filter(None, os.environ.get(variable, "").split(os.pathsep)))
    found[str(library_folder())] = None
    found.pop("/", None)  # a Python that was built for the root
    return tuple(found)


def library_names() -> tuple[str, ...]:
    return tuple(path.name for path in library_folder().glob("*ggml*"))


def library_folder() -> Path:
    """Of llama.cpp, as llama_cpp itself finds it."""
    if named := os.environ.get("LLAMA_CPP_LIB_PATH"):
        return Path(named)
    found = importlib.util.find_spec("llama_cpp")
    package = Path(found.origin).parent if found and found.origin else Path(edgellm.__path__[0])
    return package / "lib"


def _packages() -> Iterator[str]:
    for name in _PACKAGES:
        found = importlib.util.find_spec(name)
        yield from found.submodule_search_locations or () if found else ()
