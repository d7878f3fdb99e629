"""Requests, running first, as a table."""

from edgellm.status import ModelStatus, SequenceStatus
from edgellm.tui import numbers
from edgellm.tui.lines import Block, Line, Span, Tone, bar, box, pad
from edgellm.tui.view import View
from edgellm.units import format_seconds

_ORDER = {"decode": 0, "prefill": 1, "waiting": 2}
_TONES: dict[str, Tone] = {"decode": "decode", "prefill": "prefill", "waiting": "dim"}
_FIXED_COLUMNS = 6 + 2 + 8 + 14 + 10 + 3 + 6 + 9  # all but the bar


def sequence_table(view: View, width: int, height: int) -> Block:
    inner, rows = width - 4, height - 2
    models = view.status.models if view.status else ()
    sequences = sorted(
        ((one, m.plan.n_ctx_seq if m.plan else None) for m in models for one in m.sequences),
        key=lambda pair: (_ORDER.get(pair[0].state, 3), pair[0].request_id),
    )
    title = (Span("requests", "strong"),)
    note = _note(models)
    if not sequences:
        body: Block = [(Span("no request is running", "dim"),)] if view.status else []
        return box(title, note, body, width, height)
    room = rows - 1
    n_shown = len(sequences) if len(sequences) <= room else max(room - 1, 0)
    body = [_head(inner), *(_row(*pair, inner) for pair in sequences[:n_shown])]
    if n_shown < len(sequences):
        body.append((Span(f"{'…':>6}  and {len(sequences) - n_shown} more", "dim"),))
    return box(title, note, body, width, height)


def _note(models: tuple[ModelStatus, ...]) -> Line:
    running = sum(model.n_running for model in models)
    waiting = sum(model.n_waiting for model in models)
    return (Span(f"{running} running · {waiting} waiting", "label"),)


def _head(width: int) -> Line:
    heads = (
        pad("id", 6, right=True),
        "  ",
        pad("state", 8),
        pad("prompt", 14, right=True),
        pad("output", 10, right=True),
        "   ",
        pad("context", _gauge_columns(width) + 6),
        pad("age", 9, right=True),
    )
    return (Span("".join(heads), "label"),)


def _row(sequence: SequenceStatus, n_ctx_seq: int | None, width: int) -> Line:
    tone = _TONES.get(sequence.state, "text")
    full = numbers.ratio(sequence.n_computed, n_ctx_seq)
    return (
        Span(f"{pad(str(sequence.request_id), 6, right=True)}  ", "dim"),
        Span(pad(sequence.state, 8), tone),
        Span(pad(_prompt(sequence), 14, right=True)),
        Span(pad(numbers.count(sequence.n_output), 10, right=True)),
        Span("   "),
        *bar(full, _gauge_columns(width), tone),
        Span(pad(numbers.percent(full), 6, right=True)),
        Span(pad(format_seconds(sequence.age_s), 9, right=True), "dim"),
    )


def _prompt(sequence: SequenceStatus) -> str:
    """While it is being read: how far."""
    n_prompt = numbers.count(sequence.n_prompt)
    if sequence.state != "prefill":
        return n_prompt
    return f"{numbers.count(min(sequence.n_computed, sequence.n_prompt))}/{n_prompt}"


def _gauge_columns(width: int) -> int:
    return max(width - _FIXED_COLUMNS, 4)
