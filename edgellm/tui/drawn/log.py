"""The server's last words."""

import re

from edgellm.tui.drawn.lines import Block, Line, Span, Tone, box, fit, width_of, wrap
from edgellm.tui.view import View

_BAD = re.compile(r"\b(error|failed|fatal|abort|exception|out of memory)", re.IGNORECASE)
_WARN = re.compile(r"\bwarn", re.IGNORECASE)
_INDENT = "  "  # of a line's later rows


def log_card(view: View, width: int, height: int) -> Block:
    """The newest lines. Where there is no room for all of the oldest of them, its end is cut; the
    log's own screen has it."""
    body: Block = []
    note: Line = ()
    for line in reversed(view.status.log if view.status else ()):
        room = height - 2 - len(body)
        if room <= 0:
            break
        parts = _parts(line, width - 4, room)
        if len(parts) > room:
            parts[room - 1 :] = [fit(f"{parts[room - 1]} …", width - 4)]
            note = (Span("l shows all of it", "dim"),)
        body = [*((Span(part, tone_of(line)),) for part in parts), *body]
    return box((Span("log", "strong"),), note, body, width, height)


def _parts(line: str, width: int, rows: int) -> list[str]:
    """Its rows: so many, or one more where that is not all."""
    if width_of((Span(line),)) <= width:
        return [line]
    first, *others = wrap(line[: (rows + 1) * width], width - len(_INDENT))
    return [first, *(_INDENT + part for part in others)][: rows + 1]


def whole_log(view: View, width: int) -> Block:
    lines = view.status.log if view.status else ()
    if not lines:
        return [(Span("nothing has been logged yet", "dim"),)]
    return [(Span(part, tone_of(line)),) for line in lines for part in wrap(line, width)]


def tone_of(line: str) -> Tone:
    if _BAD.search(line):
        return "bad"
    return "warn" if _WARN.search(line) else "dim"
