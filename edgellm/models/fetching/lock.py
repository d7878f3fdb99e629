"""One download of a blob at a time, on this machine, whoever runs it.

The lock lies where huggingface_hub puts its own, and is of the same kind (flock), so its
downloads and ours wait for each other. The kernel lets go of it when its holder dies.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.1


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Waits for ever; `on_wait` is called while it does, and may raise to give up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while not _taken(handle):
            on_wait()
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """By somebody else, right now."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:  # gone, or another user's: nothing to be learnt of it
        return False
    try:
        return not _taken(handle)
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
