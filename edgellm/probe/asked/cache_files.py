"""Small JSON files in the user's cache folder: what one run writes down for the next."""

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

_LOCK_TRIES, _LOCK_RETRY_S = 400, 0.005  # writers hold it for milliseconds, longer on a busy disk


def folder() -> Path:
    return platformdirs.user_cache_path("edgellm")


def load(path: Path, kind: type[T], default: T) -> T:
    """`default` when there is no file, or none that can be read as `kind`."""
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeError):
        return msgspec.json.decode(path.read_bytes(), type=kind)
    return default


def save(path: Path, value: object) -> None:
    """The file is written whole or not at all. A folder that can't be written is no error: the
    next run only has to find the value out again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.encode(value))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """For a read-modify-write of `path`: one program at a time holds this lock. After two seconds
    without it the block runs all the same: at worst another program's entry is lost."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = held.enter_context(path.with_suffix(".lock").open("wb"))
            for _ in range(_LOCK_TRIES):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_LOCK_RETRY_S)
        yield
