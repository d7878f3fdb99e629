"""Decode and prefill of all requests over wall time, each with its history.

A second in which nothing ran counts, too: how fast one answer is written stands on the model's
card, beside what was predicted of it.
"""

from edgellm.status import RATE_WINDOW_S
from edgellm.tui.drawn import braille, numbers
from edgellm.tui.drawn.lines import Block, Line, Span, Tone, box, pad, width_of
from edgellm.tui.view import History, View
from edgellm.units import format_seconds

_LABEL_COLUMNS = 12
_SCALE_COLUMNS = 6  # "10,000"


def speed_card(view: View, width: int, height: int) -> Block:
    inner, rows = width - 4, height - 2
    n_columns = inner - _LABEL_COLUMNS - _SCALE_COLUMNS - 1
    gap = 1 if rows >= 5 else 0
    lower = max((rows - gap) // 2, 1)
    upper = max(rows - gap - lower, 1)
    body = [
        *_graph("decode", view.decode_tok_s, n_columns, upper, "decode"),
        *[()] * gap,
        *_graph("prefill", view.prefill_tok_s, n_columns, lower, "prefill"),
    ]
    past = Span(f"last {_span(_shown_s(view, n_columns))}", "dim")
    note = (*_per_token(view), past) if width >= 38 else (past,)
    mean = f"{RATE_WINDOW_S:.0f} s mean"
    whole = f"throughput, {mean}"
    title = (Span(whole if len(whole) + width_of(note) + 8 <= width else mean, "strong"),)
    return box(title, note, body, width, height)


def _per_token(view: View) -> Line:
    """What a token takes right now, of all devices: nothing where no sensor tells."""
    energy = view.status.energy if view.status else None
    joules = numbers.ratio(energy.power_w if energy else None, view.all_decode_tok_s)
    return () if joules is None else (Span(f"{numbers.joules_per_token(joules)}  "),)


def _shown_s(view: View, n_columns: int) -> float:
    """What the graphs have room for; no recording is longer than it is."""
    room_s = 2 * n_columns * view.interval_s
    return min(room_s, view.played.length_s) if view.played else room_s


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else format_seconds(seconds)


def _graph(name: str, history: History, n_columns: int, n_rows: int, tone: Tone) -> Block:
    """The name and the newest value on the left, the scale on the right."""
    shown = history[-2 * n_columns :]
    top = braille.ceiling(shown)
    plot = braille.graph(shown, n_columns, n_rows, top)
    scale = [""] * n_rows
    if any(value is not None for value in shown):
        scale[-1] = "0"
        scale[0] = f"{top:,.0f}"
    return [
        (
            Span(pad(text, _LABEL_COLUMNS), label_tone),
            Span(dots, tone),
            Span(pad(mark, _SCALE_COLUMNS + 1, right=True), "dim"),
        )
        for (text, label_tone), dots, mark in zip(
            _labels(name, history, shown, n_rows), plot, scale, strict=True
        )
    ]


def _labels(name: str, history: History, shown: History, n_rows: int) -> list[tuple[str, Tone]]:
    now = f"{numbers.rate(history[-1] if history else None)} tok/s"
    if n_rows == 1:
        return [(now, "strong")]
    labels: list[tuple[str, Tone]] = [(name, "label"), (now, "strong")]
    known = [value for value in shown if value is not None]
    if n_rows >= 3:
        labels.append((f"max {numbers.rate(max(known, default=None))}", "dim"))
    return (labels + [("", "dim")] * n_rows)[:n_rows]
