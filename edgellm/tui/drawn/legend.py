"""The help: which key does what, and how the screen is to be read."""

from edgellm.tui.drawn.lines import Block, Line, Span, pad, wrap
from edgellm.tui.view import View

_CHAT_KEY = "c"
_KEYS = (
    ("q, Ctrl-C", "quit; the server goes on, but not that of `up`"),
    (_CHAT_KEY, "chat with the model"),
    ("m", "the next model, where the server has several"),
    ("t, Esc", "back; a page closes by q, too, and by its own key"),
    ("p", "the plan: what, why, and how it turned out"),
    ("l", "the log"),
    ("?", "this page"),
)
_CHAT = (
    ("Enter", "send"),
    ("Ctrl-J", "new line; or Shift-Enter, if the terminal tells it"),
    ("↑ ↓", "earlier questions, from the first and the last line"),
    ("Esc, Ctrl-C", "stop the answer; Esc again goes back"),
    ("Ctrl-N", "a new conversation"),
    ("Ctrl-O", "ask the next model, where the server has several"),
    ("Ctrl-T", "thoughts: as the model does, none or always, if it can"),
)
_READING = (
    ("–", "nobody knows: no sensor, or nothing ran. Never a zero"),
    ("○ waiting", "the server does not answer; what it said last is in grey, and what it was"),
    ("!", "the device is throttled, and by what"),
    ("5 s mean", "tokens written (decode), read (prefill) a second; idle time counts"),
    ("speed", "of an answer alone, idle time left out; “last”: it has ended"),
    ("plan", "quantization, conversations × context, KV type, threads, placement"),
    ("a of b–c", "measured of predicted; one run in ten is slower than b, one faster than c"),
    ("cells", "KV cells, one for each token that is remembered"),
    ("cache", "prompt tokens that did not have to be computed, since the start"),
)


_KEY_COLUMNS = 16


def legend(view: View, width: int) -> Block:
    if view.played:  # nobody in a recording answers
        keys = tuple(row for row in _KEYS if row[0] != _CHAT_KEY)
        return [*_part("keys", keys, width), (), *_part("how to read it", _READING, width)]
    return [
        *_part("keys", _KEYS, width),
        (),
        *_part("in the chat", _CHAT, width),
        (),
        *_part("how to read it", _READING, width),
    ]


def _part(heading: str, rows: tuple[tuple[str, str], ...], width: int) -> Block:
    lines: list[Line] = [(Span(heading, "label"),)]
    for key, text in rows:
        for i, part in enumerate(wrap(text, width - _KEY_COLUMNS)):
            shown = "" if i else f"  {key}"
            lines.append((Span(pad(shown, _KEY_COLUMNS), "accent"), Span(part)))
    return lines
