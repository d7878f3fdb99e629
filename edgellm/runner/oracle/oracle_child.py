"""The memory oracle's program: `python -m edgellm.runner.oracle.oracle_child`.

Questions come in frames on stdin, one answer goes out for each on a duplicate of stdout; stdout
itself is pointed at stderr before llama_cpp is imported, because vendor libraries print. End of
stdin is the end.

A process of its own, because a header from the internet can abort llama.cpp, and because
llama.cpp's log is one for the whole process. It is kept short of memory for the same reason: a
header that claims four billion tokens shall fail here, and not push the machine into its swap.
"""

import contextlib
import os
import sys
from typing import Final

from edgellm.runner.frames import FrameReader, encode_frame
from edgellm.runner.oracle.messages import Question
from edgellm.runner.pipes import own_stdout, write_all
from edgellm.runner.sandbox.confine import NotConfined, confine
from edgellm.runner.sandbox.places import library_names
from edgellm.runner.sandbox.rules import has_drivers, rules_for_headers

_MOST_BYTES: Final = 2 << 30  # what it allocates is some 50 MiB


def main() -> int:
    frames_fd = own_stdout()
    _limit()
    _enter_sandbox()
    from edgellm.runner.llama.oracle import LlamaMemory

    try:
        memory = LlamaMemory()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        print(f"no llama.cpp here: {error}", file=sys.stderr)  # noqa: T201 - nobody else is told
        return 1
    reader: FrameReader[Question] = FrameReader(Question)
    try:
        while data := os.read(0, 1 << 16):
            for question in reader.feed(data):
                write_all(frames_fd, encode_frame([memory.answer(question)]))
    except BrokenPipeError:
        pass
    return 0


def _enter_sandbox() -> None:
    """Beside drivers nobody has tried it; where it can't be had, the limits have to do."""
    if not has_drivers(library_names()):
        with contextlib.suppress(NotConfined):
            confine(rules_for_headers())


def _limit() -> None:
    """Its own allocations, libraries not counted, and no core file when it aborts."""
    try:
        import resource
    except ImportError:
        return  # Windows has no such limits
    for kind, most in ((resource.RLIMIT_DATA, _MOST_BYTES), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        with contextlib.suppress(OSError, ValueError):  # not every system lets one
            resource.setrlimit(kind, (most if hard < 0 else min(most, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
