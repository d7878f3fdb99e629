"""What a probe writes down for the next one: small files in the user's cache folder."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import platformdirs

from edgellm.files import write_whole

T = TypeVar("T")

_TRIES, _TRY_S = 400, 0.005  # for a lock that others hold while they write; many on a busy disk


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
        write_whole(path, msgspec.json.encode(value))


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Who reads a file and writes it changed is the only one to, among programs that ask here. A
    lock that can't be had is done without: at worst another's line is lost."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = held.enter_context(path.with_suffix(".lock").open("wb"))
            for _ in range(_TRIES):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_TRY_S)
        yield
