"""What the commands print: facts on stdout, for people and pipes; progress on stderr."""

import contextlib
import os
import re
import sys
from typing import Any

from edgellm.errors import EdgellmError
from edgellm.harmless import prose


def say(text: str) -> None:
    """Progress. stdout stays clean for what was asked for. Where nobody reads it, it is lost.

    It may quote a file's or a server's words, which do nothing to the terminal.
    """
    with contextlib.suppress(OSError):  # whatever it tells of goes on
        print(prose(text), file=sys.stderr, flush=True)


def say_error(error: EdgellmError) -> None:
    """On a terminal its lines end between words."""
    from edgellm.tables import wrapped

    text = f"edgellm: {error}" + (f"\n  → {error.hint}" if error.hint else "")
    columns = _columns_of_stderr()
    for line in text.splitlines():
        say("\n    ".join(wrapped(line, columns and columns - 4)))


def _columns_of_stderr() -> int | None:
    """None: it is no terminal, and a line is one line, however long."""
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    return None


def print_json(value: Any) -> None:
    """Dataclasses, structs and plain values alike; unknown is null. The control letters that JSON
    needn't escape are escaped, too: some steer a terminal."""
    import msgspec

    data = msgspec.json.encode(value, order="deterministic", enc_hook=str)
    text = msgspec.json.format(data, indent=2).decode()
    print(re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text))


def agrees(question: str, *, usually: bool) -> bool:
    """Asks on the terminal. Enter alone is `usually`, the end of the input (Ctrl-D) no."""
    try:
        answer = input(f"{question} {'[Y/n]' if usually else '[y/N]'} ").strip().lower()
    except EOFError:
        print()
        return False
    return answer in ("y", "yes") if answer else usually


def is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def columns() -> int:
    """As many as the terminal has; 100 where there is none."""
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


def row_columns() -> int | None:
    """For tables that other programs go through line by line. None: they do, no terminal is there,
    and each row is one line, however long."""
    import shutil

    return shutil.get_terminal_size((0, 0)).columns or None
