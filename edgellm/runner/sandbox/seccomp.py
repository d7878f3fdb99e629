"""No sockets at all: what Landlock leaves open, UDP and the sockets of other programs' files.

A filter of system calls that the kernel asks before each (seccomp(2)). It forbids socket(2), and
io_uring_setup(2), which could make one past the filter; all else is as it was. A call that is made
by another machine's numbers (i386's, x32's) is refused: nobody here makes one. Sources:
include/uapi/linux/{seccomp,filter,audit}.h and the systems' tables of calls, Linux 6.18.
"""

import ctypes
import errno
import os
import platform

_SET_MODE_FILTER = 1
# Linux before 5.16 turns off a CPU's guesses of memory for who is filtered, unless it is told not
# to: decoding would pay for a defence that isn't meant here.
_SPEC_ALLOW = 1 << 2
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, JMP|JEQ|K …
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_FIRST_OF_X32 = 0x40000000
_IO_URING_SETUP = 425  # on all machines but Alpha
# AUDIT_ARCH_…, and the numbers of seccomp and socket
_MACHINES = {"x86_64": (0xC000003E, 317, 41), "aarch64": (0xC00000B7, 277, 198)}


class _Step(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_so", ctypes.c_uint8),
        ("if_not", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("n_steps", ctypes.c_uint16), ("steps", ctypes.POINTER(_Step)))


def forbid_sockets() -> None:
    """For the calling thread and all that it starts; it can't raise its rights already. Raises
    OSError where this machine or kernel has no such filter."""
    known = _MACHINES.get(platform.machine())
    if known is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    architecture, seccomp, socket = known
    steps = [_Step(*step) for step in _steps(architecture, socket)]
    program = _Program(len(steps), (_Step * len(steps))(*steps))
    libc = ctypes.CDLL(None, use_errno=True)
    flags = ctypes.c_uint(_SPEC_ALLOW)
    if libc.syscall(ctypes.c_long(seccomp), _SET_MODE_FILTER, flags, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _steps(architecture: int, socket: int) -> list[tuple[int, int, int, int]]:
    """Jumps are counted from the next step; the last one refuses."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 0, 5, architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 3, 0, _FIRST_OF_X32),
        (_IF_EQUAL, 2, 0, socket),
        (_IF_EQUAL, 1, 0, _IO_URING_SETUP),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
