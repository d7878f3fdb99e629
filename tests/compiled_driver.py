"""A driver's library that is compiled here: the real loader finds it where it looks for its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_CC = shutil.which("cc")
_SOURCES = Path(__file__).parent / "probe"


def needs_compiler(library: str) -> list[pytest.MarkDecorator]:
    return [
        pytest.mark.skipif(_CC is None, reason="no C compiler to build the fake driver with"),
        pytest.mark.skipif(sys.platform != "linux", reason=f"{library} is found so on Linux"),
    ]


def compiled(folder: Path, source: str, library: str) -> Path:
    """The folder, for LD_LIBRARY_PATH."""
    command = (_CC, "-shared", "-fPIC", "-o", folder / library, _SOURCES / source)
    subprocess.run(command, check=True)
    return folder
