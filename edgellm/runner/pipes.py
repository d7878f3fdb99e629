"""The ends of the pipes between the gateway and its children, as file descriptors."""

import os


def own_stdout() -> int:
    """For a child, before llama_cpp is imported: its stdout under another number. Under its own
    everything goes to stderr, because vendor libraries print."""
    fd = os.dup(1)
    os.dup2(2, 1)
    return fd


def write_all(fd: int, data: bytes) -> None:
    """A pipe may take less than it is given. Raises OSError."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
