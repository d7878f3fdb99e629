"""What the commands print: facts on stdout, for people and pipes; progress on stderr."""

import contextlib
import sys
from typing import Any

from edgellm.errors import EdgellmError


def say(text: str) -> None:
    """Progress. stdout stays clean for what was asked for. Where nobody reads it, it is lost."""
    with contextlib.suppress(OSError):  # whatever it tells of goes on
        print(text, file=sys.stderr, flush=True)


def say_error(error: EdgellmError) -> None:
    from edgellm.tui.drawn.untrusted import prose

    say(f"edgellm: {prose(str(error))}")  # which may quote a file's or a server's words
    if error.hint:
        say(f"  → {error.hint}")


def print_json(value: Any) -> None:
    """Dataclasses, structs and plain values alike; unknown is null."""
    import msgspec

    data = msgspec.json.encode(value, order="deterministic", enc_hook=str)
    print(msgspec.json.format(data, indent=2).decode())


def is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def columns() -> int:
    """As many as the terminal has; 100 where there is none."""
    import shutil

    return shutil.get_terminal_size((100, 24)).columns
