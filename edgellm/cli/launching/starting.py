"""Runs an app with the terminal as its own, and ends as it ends.

It stays in our process group, so what is typed at the terminal (Ctrl-C, Ctrl-Z) reaches it from the
system; what is sent to us alone is handed on.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from edgellm.cli.launching.wiring import Launch
from edgellm.errors import StorageError

_HANDED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def run(launch: Launch) -> int:
    """Its exit code, as a shell tells it: 128 + N for signal N. Raises StorageError where it can't
    be started."""
    for path, text in launch.files.items():
        Path(path).write_text(text, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k not in launch.unset}
    try:
        process = subprocess.Popen(launch.argv, env={**environment, **launch.environment})
    except OSError as error:
        raise StorageError(f"{launch.argv[0]} can't be started: {error.strerror}") from error
    with _handing_on(process):
        code = process.wait()
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _handing_on(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    def hand_on(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    def leave_it(number: int, _: FrameType | None) -> None:
        """The terminal has sent it to the app, too, which may go on."""

    before = {number: signal.signal(number, hand_on) for number in _HANDED_ON}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, leave_it)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
