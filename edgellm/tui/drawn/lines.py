"""What the screen is made of, as plain values: spans of toned text, lines of spans, blocks.

Everything that can be seen on the dashboard is a pure function to a block of lines; one widget
(canvas.py) paints them. A tone says what a piece of text means, the theme says which colour that
is; every tone is also readable without colour.
"""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple, TypeAlias, get_args

from rich.cells import cell_len, chop_cells, set_cell_size

Tone = Literal[
    "text", "strong", "label", "dim", "border", "accent", "good", "warn", "bad",
    "fill", "track", "decode", "prefill",
]  # fmt: skip
TONES: tuple[Tone, ...] = get_args(Tone)


class Span(NamedTuple):
    text: str
    tone: Tone = "text"


Line: TypeAlias = tuple[Span, ...]
Block: TypeAlias = list[Line]

_EMPTY: Line = ()


def width_of(line: Line) -> int:
    return sum(cell_len(span.text) for span in line)


def fit(text: str, width: int) -> str:
    """At most `width` cells; what is cut ends in an ellipsis."""
    if cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, width - 1)}…" if width > 0 else ""


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Exactly `width` cells, cut or filled; `right` aligns to the right."""
    text = fit(text, width)
    blank = " " * (width - cell_len(text))
    return blank + text if right else text + blank


def wrap(text: str, width: int) -> list[str]:
    """Broken between words; a word that is wider than a line, anywhere."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines += chop_cells(word, max(width, 1))
    return lines if lines[0] or len(lines) == 1 else lines[1:]


def crop(line: Line, width: int) -> Line:
    """Exactly `width` cells."""
    kept: list[Span] = []
    left = width
    for text, tone in line:
        n_cells = cell_len(text)
        if n_cells > left:
            kept.append(Span(fit(text, left), tone))
            left -= cell_len(kept[-1].text)
            break
        kept.append(Span(text, tone))
        left -= n_cells
    return (*kept, Span(" " * left)) if left else tuple(kept)


def spread(left: Line, right: Line, width: int) -> Line:
    """One line with two ends; where they meet, the left one gives way."""
    room = width - width_of(right)
    return crop((*crop(left, max(room - 1, 0)), Span(" "), *right), width)


def joined(items: Iterable[str], width: int, separator: str = " · ") -> str:
    """As many of the items, in their order of importance, as there is room for; the first one is
    cut rather than left out."""
    text = ""
    for item in items:
        longer = f"{text}{separator}{item}" if text else fit(item, width)
        if cell_len(longer) > width:
            break
        text = longer
    return text


def bar(ratio: float | None, width: int, tone: Tone = "fill") -> Line:
    """Heavy where it is full, light where it is not, broken where nobody knows."""
    if ratio is None:
        return (Span("╌" * width, "track"),)
    n_half = min(max(round(ratio * 2 * width), 0), 2 * width)
    if ratio > 0:
        n_half = max(n_half, 1)  # a little is not nothing
    full, half = divmod(n_half, 2)
    filled = "━" * full + "╸" * half
    return (Span(filled, tone), Span("─" * (width - full - half), "track"))


def box(title: Line, note: Line, body: Sequence[Line], width: int, height: int) -> Block:
    """A frame with its title on the left of the top edge and a note on the right."""
    inner = width - 4
    top = _edge(title, note, width)
    rows = [
        (Span("│ ", "border"), *crop(body[i] if i < len(body) else _EMPTY, inner), _SIDE)
        for i in range(height - 2)
    ]
    return [top, *rows, (Span(f"╰{'─' * (width - 2)}╯", "border"),)]


_SIDE = Span(" │", "border")
_MIN_TITLE = 6  # cells; a note that leaves less is left out


def _edge(title: Line, note: Line, width: int) -> Line:
    if width_of(note) + _MIN_TITLE > width - 8:
        note = ()
    end: Line = (Span(" ", "border"), *note, Span(" ─╮", "border")) if note else (_CORNER,)
    room = width - width_of(end) - 4
    shown = title if width_of(title) <= room else crop(title, room)
    rule = "─" * (room - width_of(shown))
    return (Span("╭─ ", "border"), *shown, Span(f" {rule}", "border"), *end)


_CORNER = Span("─╮", "border")


def beside(blocks: Sequence[Block]) -> Block:
    """Blocks from left to right. Their lines must be full: a short one would pull the next in."""
    rows = zip_longest(*blocks, fillvalue=_EMPTY)
    return [tuple(span for part in row for span in part) for row in rows]
