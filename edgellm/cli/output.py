"""What the commands print: facts on stdout, for people and pipes; progress on stderr."""

import sys
from collections.abc import Sequence
from typing import Any

from edgellm.errors import EdgellmError

_GAP = "  "


def say(text: str) -> None:
    """Progress. stdout stays clean for what was asked for."""
    print(text, file=sys.stderr, flush=True)


def say_error(error: EdgellmError) -> None:
    say(f"edgellm: {error}")
    if error.hint:
        say(f"  → {error.hint}")


def print_json(value: Any) -> None:
    """Dataclasses, structs and plain values alike; unknown is null."""
    import msgspec

    data = msgspec.json.encode(value, order="deterministic", enc_hook=str)
    print(msgspec.json.format(data, indent=2).decode())


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "") -> str:
    """Columns as wide as their widest cell; those named in `right` are aligned to the right."""
    widths = [
        max(len(heading), *(len(row[i]) for row in rows)) if rows else len(heading)
        for i, heading in enumerate(headings)
    ]
    to_right = {i for i, heading in enumerate(headings) if heading in right.split(",")}
    lines = []
    for row in (headings, *rows):
        cells = [
            cell.rjust(width) if i in to_right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(_GAP.join(cells).rstrip())
    return "\n".join(lines)


def is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
