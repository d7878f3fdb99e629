"""What a probe writes down for the next one: small files in the user's cache folder."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec
import platformdirs

T = TypeVar("T")


def folder() -> Path:
    return platformdirs.user_cache_path("edgellm")


def kept(path: Path, kind: type[T], otherwise: T) -> T:
    """`otherwise` when there is none, or none that can be read."""
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeError):
        return msgspec.json.decode(path.read_bytes(), type=kind)
    return otherwise


def keep(path: Path, value: object) -> None:
    """Whole or not at all. A folder that can't be written costs the next probe its time, nothing
    else."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, whole = tempfile.mkstemp(dir=path.parent, suffix=".new")
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(value))
        Path(whole).replace(path)
