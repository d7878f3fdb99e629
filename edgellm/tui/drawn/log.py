"""The server's last words."""

import re

from edgellm.tui.drawn.lines import Block, Span, Tone, box, wrap
from edgellm.tui.view import View

_BAD = re.compile(r"\b(error|failed|fatal|abort|exception|out of memory)", re.IGNORECASE)
_WARN = re.compile(r"\bwarn", re.IGNORECASE)


def log_card(view: View, width: int, height: int) -> Block:
    """The newest lines, cut; the log's own screen wraps them."""
    lines = view.status.log if view.status else ()
    body = [(Span(line, tone_of(line)),) for line in lines[-(height - 2) :]]
    return box((Span("log", "strong"),), (), body, width, height)


def whole_log(view: View, width: int) -> Block:
    lines = view.status.log if view.status else ()
    if not lines:
        return [(Span("nothing has been logged yet", "dim"),)]
    return [(Span(part, tone_of(line)),) for line in lines for part in wrap(line, width)]


def tone_of(line: str) -> Tone:
    if _BAD.search(line):
        return "bad"
    return "warn" if _WARN.search(line) else "dim"
