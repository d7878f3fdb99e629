"""The help: which key does what, and how the screen is to be read."""

from edgellm.tui.lines import Block, Line, Span, pad
from edgellm.tui.view import View

_KEYS = (
    ("q, Ctrl-C", "quit; the server goes on"),
    ("c", "chat with the model"),
    ("t, Esc", "back to the dashboard"),
    ("p", "the plan: what was chosen, why, and how it turned out"),
    ("l", "the log"),
    ("?", "this page"),
)
_CHAT = (
    ("Enter", "send"),
    ("Ctrl-J", "new line; Shift-Enter where the terminal can tell it"),
    ("↑ ↓", "earlier questions, from the first and the last line"),
    ("Esc, Ctrl-C", "stop the answer; Esc again goes back"),
    ("Ctrl-N", "a new conversation"),
)
_READING = (
    ("–", "nobody knows: no sensor, or nothing ran. Never a zero"),
    ("○ waiting", "the server does not answer; what it said last is shown in grey"),
    ("!", "the device is throttled, and by what"),
    ("speed", "decode is tokens written a second, prefill tokens read, of all requests"),
    ("plan", "quantization, conversations × context, KV type, threads, placement"),
    ("a of b–c", "measured of predicted; one run in ten is slower than b, one faster than c"),
    ("cells", "KV cells, one for each token that is remembered"),
    ("cache", "prompt tokens that did not have to be computed, since the start"),
)


def legend(_view: View, _width: int) -> Block:
    return [
        *_part("keys", _KEYS),
        (),
        *_part("in the chat", _CHAT),
        (),
        *_part("how to read it", _READING),
    ]


def _part(heading: str, rows: tuple[tuple[str, str], ...]) -> Block:
    lines: list[Line] = [(Span(heading, "label"),)]
    return lines + [(Span(pad(f"  {key}", 16), "accent"), Span(text)) for key, text in rows]
