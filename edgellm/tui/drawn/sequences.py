"""Requests, running first, as a table."""

from typing import NamedTuple

from rich.cells import cell_len

from edgellm.status import KeyStatus, ModelStatus, SequenceStatus
from edgellm.tui.drawn import numbers
from edgellm.tui.drawn.lines import Block, Line, Span, Tone, bar, box, pad
from edgellm.tui.view import View
from edgellm.units import format_seconds

_ORDER = {"decode": 0, "prefill": 1, "waiting": 2}
_TONES: dict[str, Tone] = {"decode": "decode", "prefill": "prefill", "waiting": "dim"}
_STATE_COLUMNS, _SHARE_COLUMNS, _LEAST_BAR_COLUMNS = 8, 6, 4
_GAP = 2


class _Columns(NamedTuple):
    """Of what may be narrow; the bar takes what is left."""

    id: int
    prompt: int
    output: int
    age: int

    @property
    def taken(self) -> int:
        return sum(self) + _GAP + _STATE_COLUMNS + _GAP + 1 + _SHARE_COLUMNS


_ROOMY, _TIGHT = _Columns(6, 14, 10, 9), _Columns(5, 13, 7, 8)


def _columns(width: int) -> tuple[_Columns, int]:
    """And how many the bar has."""
    columns = _ROOMY if width >= _ROOMY.taken + _LEAST_BAR_COLUMNS else _TIGHT
    return columns, max(width - columns.taken, _LEAST_BAR_COLUMNS)


def sequence_table(view: View, width: int, height: int) -> Block:
    inner, rows = width - 4, height - 2
    models = view.models
    sequences = sorted(
        ((one, m.plan.n_ctx_seq if m.plan else None) for m in models for one in m.sequences),
        key=lambda pair: (_ORDER.get(pair[0].state, 3), pair[0].request_id),
    )
    title = (Span("requests", "strong"),)
    note = _note(models, view.status.keys if view.status else (), inner)
    if not sequences:
        body: Block = [(Span("no request is running", "dim"),)] if view.status else []
        return box(title, note, body, width, height)
    room = rows - 1
    n_shown = len(sequences) if len(sequences) <= room else max(room - 1, 0)
    body = [_head(inner), *(_row(*pair, inner) for pair in sequences[:n_shown])]
    if n_shown < len(sequences):
        body.append((Span(f"{'…':>6}  and {len(sequences) - n_shown} more", "dim"),))
    return box(title, note, body, width, height)


def _note(models: tuple[ModelStatus, ...], keys: tuple[KeyStatus, ...], width: int) -> Line:
    """With whose they are, where several keys have some and there is room beside the title."""
    running = sum(model.n_running for model in models)
    waiting = sum(model.n_waiting for model in models)
    note = f"{running} running · {waiting} waiting"
    having = [f"{one.name}: {one.n_running}" for one in keys if one.n_running]
    whose = f"{', '.join(having)} · {note}" if len(having) > 1 else note
    return (Span(whose if cell_len(whose) <= width // 2 else note, "label"),)


def _head(width: int) -> Line:
    columns, n_bar = _columns(width)
    heads = (
        pad("id", columns.id, right=True),
        "  ",
        pad("state", _STATE_COLUMNS),
        pad("prompt", columns.prompt, right=True),
        pad("output", columns.output, right=True),
        "   ",
        pad("context", n_bar + _SHARE_COLUMNS),
        pad("age", columns.age, right=True),
    )
    return (Span("".join(heads), "label"),)


def _row(sequence: SequenceStatus, n_ctx_seq: int | None, width: int) -> Line:
    tone = _TONES.get(sequence.state, "text")
    full = numbers.ratio(sequence.n_computed, n_ctx_seq)
    columns, n_bar = _columns(width)
    return (
        Span(f"{pad(str(sequence.request_id), columns.id, right=True)}  ", "dim"),
        Span(pad(sequence.state, _STATE_COLUMNS), tone),
        Span(pad(_prompt(sequence), columns.prompt, right=True)),
        Span(pad(numbers.count(sequence.n_output), columns.output, right=True)),
        Span("   "),
        *bar(full, n_bar, tone),
        Span(pad(numbers.percent(full), _SHARE_COLUMNS, right=True)),
        Span(pad(format_seconds(sequence.age_s), columns.age, right=True), "dim"),
    )


def _prompt(sequence: SequenceStatus) -> str:
    """While it is being read: how far."""
    n_prompt = numbers.count(sequence.n_prompt)
    if sequence.state != "prefill":
        return n_prompt
    return f"{numbers.count(min(sequence.n_computed, sequence.n_prompt))}/{n_prompt}"
