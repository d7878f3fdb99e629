"""Which process a number meant when it was written down: it is another's once that one has ended.

Not by the second of its start. Linux counts that from the boot, and the boot's own second moves
whenever the clock is set: a board without a clock has it set soon after its servers have begun.
"""

import sys
from pathlib import Path

import psutil

from edgellm.files import BOOT_ID, boot_id

_STARTED_AT = 22 - 3  # proc(5): field 22, counted behind the name, which is the second


def identity_of(pid: int, boot: Path = Path(BOOT_ID)) -> str | None:
    """The same as long as the process lives, and no other's. None: no process has this number.
    Where the system names no boot, the ticks since it are all. Raises OSError where it can't be
    known at this moment."""
    if sys.platform != "linux":
        return _started(pid)
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it may end while it is read
        return None
    ticks = told.rpartition(b")")[2].split()[_STARTED_AT]  # a name may have blanks and brackets
    return f"{boot_id(boot) or ''} {int(ticks)}"


def _started(pid: int) -> str | None:
    """Where the system has kept the second of the start, no clock moves it."""
    try:
        return str(psutil.Process(pid).create_time())
    except (psutil.Error, OverflowError, ValueError):  # it is what a file told
        return None
