"""Runs an app with the terminal as its own, and ends as it ends.

It stays in our process group, so what is typed at the terminal (Ctrl-C, Ctrl-Z) reaches it from the
system; what is sent to us alone is handed on.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

from edgellm.cli.launching.wiring import Launch
from edgellm.cli.signals import handled_by
from edgellm.errors import StorageError

_HANDED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def run(launch: Launch, host: str) -> int:
    """Its exit code, as a shell tells it: 128 + N for signal N. `host` is the server's. Raises
    StorageError where it can't be started."""
    for path, text in launch.files.items():
        Path(path).write_text(text, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k not in launch.unset}
    environment |= {**_past_proxies(environment, host), **launch.environment}
    started: list[subprocess.Popen[bytes]] = []
    with _handing_on(started):
        try:
            started.append(subprocess.Popen(launch.argv, env=environment))
        except OSError as error:
            raise StorageError(f"{launch.argv[0]} can't be started: {error.strerror}") from error
        code = started[0].wait()
    return code if code >= 0 else 128 - code


def _past_proxies(environ: Mapping[str, str], host: str) -> dict[str, str]:
    """As our own commands ask, and no proxy knows this machine's 127.0.0.1. Either spelling is
    somebody's."""
    if not any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in environ):
        return {}
    names = ("no_proxy", "NO_PROXY")
    return {name: ",".join(filter(None, (environ.get(name), host))) for name in names}


@contextlib.contextmanager
def _handing_on(started: "list[subprocess.Popen[bytes]]") -> Iterator[None]:
    """Before there is an app in `started`, a signal ends us."""

    def hand_on(number: int, _: FrameType | None) -> None:
        if not started:
            raise SystemExit(128 + number)
        started[0].send_signal(number)

    def leave_it(_number: int, _: FrameType | None) -> None:
        """The terminal has sent it to the app, too, which may go on."""
        if not started:
            raise KeyboardInterrupt

    with handled_by({**dict.fromkeys(_HANDED_ON, hand_on), signal.SIGINT: leave_it}):
        yield
