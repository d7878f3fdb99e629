"""Linux's Landlock: a thread gives up what it may do, for good, and so for all it starts.

Three system calls without a wrapper in libc. What a kernel doesn't know yet is left out, by its
version of the interface (ABI). Sources: Documentation/userspace-api/landlock.rst and
include/uapi/linux/landlock.h, Linux 6.18.
"""

import contextlib
import ctypes
import os
import stat
import sys
from collections.abc import Iterator
from functools import cache

from edgellm.runner.sandbox.rules import Rules

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on all machines but Alpha
_VERSION, _PATH_BENEATH, _NO_NEW_PRIVS = 1, 1, 38  # landlock.h, landlock.h, prctl.h

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << n for n in range(6))
_MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ALL_OF_ABI_1 = (1 << 13) - 1
_BIND_TCP, _CONNECT_TCP = 1, 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2

_READ = _READ_FILE | _READ_DIR
_CHANGE = _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV


class _Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr; a kernel of before is told its beginning only."""

    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """0: this system has none, or it was switched off at the boot (`lsm=`)."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return 0


def restrict(rules: Rules, version: int) -> None:
    """The calling thread, and what it starts. Raises OSError; then nothing has changed but that no
    program can raise its rights from here."""
    handled = _handled(version)
    scoped = _ABSTRACT_SOCKETS | _SIGNALS if version >= 6 else 0
    attributes = _Ruleset(handled, _BIND_TCP | _CONNECT_TCP if version >= 4 else 0, scoped)
    size = ctypes.c_size_t(8 if version < 4 else 16 if version < 6 else 24)
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), size, ctypes.c_uint32(0))
    try:
        for path, access in _accesses(rules):
            _allow(ruleset, path, access & handled)
        if _libc().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no_new_privs")
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _handled(version: int) -> int:
    """What is forbidden where no rule allows it. Below 2 nothing moves between folders at all."""
    later = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
    return _ALL_OF_ABI_1 | sum(access for since, access in later if version >= since)


def _accesses(rules: Rules) -> Iterator[tuple[str, int]]:
    yield from ((path, _READ) for path in rules.read)
    yield from ((path, _READ | _CHANGE | _REFER | _IOCTL_DEV) for path in rules.write)
    yield from ((path, _READ_FILE | _WRITE_FILE | _IOCTL_DEV) for path in rules.nodes)


def _allow(ruleset: int, path: str, access: int) -> None:
    """By its inode: a link is the file that it leads to."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            is_folder = stat.S_ISDIR(os.fstat(parent).st_mode)
            rule = _PathBeneath(access if is_folder else access & _OF_A_FILE, parent)
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), ctypes.c_uint32(0))
        finally:
            os.close(parent)


def _call(number: int, *arguments: object) -> int:
    """Raises OSError."""
    result = int(_libc().syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
