"""The plan, whole: what was chosen, why, and how it turned out. The screen behind `p`."""

from edgellm.status import ModelStatus, PlanStatus, ShareStatus
from edgellm.tui.drawn import numbers
from edgellm.tui.drawn.lines import Block, Line, Span, Tone, crop, fit, pad, width_of, wrap
from edgellm.tui.drawn.model import is_last, kv_types, state_note
from edgellm.tui.view import View
from edgellm.units import DASH, format_bytes

_LABEL_COLUMNS = 16
_FIGURE_COLUMNS = 12  # three of them stand behind a part's name
_NAME_COLUMNS = 32  # at most
_PARTS = (("weight_bytes", "weights"), ("kv_bytes", "KV cache"), ("compute_bytes", "compute"))


def plan_details(view: View, width: int) -> Block:
    if not view.models:
        return [(Span("no model, no plan", "dim"),)]
    block: Block = []
    for model in view.models:
        block += [*([()] if block else []), *_model(model, view, width)]
    return block


def _model(model: ModelStatus, view: View, width: int) -> Block:
    note = state_note(model, view)
    name = fit(model.name, max(width - width_of(note) - 2, 0))
    head = crop((Span(f"{name}  ", "strong"), *note), width)
    if model.plan is None:
        return [head, (Span("its plan is not known", "dim"),)]
    return [
        head,
        *_choices(model.plan, width),
        *_speeds(model, model.plan, width),
        (),
        *_memory(model.plan, view, width),
        *_reasons(model.plan, width),
    ]


def _choices(plan: PlanStatus, width: int) -> Block:
    context = (
        f"{numbers.count(plan.n_ctx_seq)} a conversation, {plan.n_parallel} at a time, "
        f"{numbers.count(plan.n_ctx)} in all"
    )
    rows = (
        ("file", plan.file),
        ("quantization", plan.quant),
        ("context", context),
        ("KV types", kv_types(plan)),
        ("layers on GPU", str(plan.n_gpu_layers)),
        ("threads", str(plan.n_threads)),
    )
    return [line for row in rows for line in _row(*row, width)]


def _speeds(model: ModelStatus, plan: PlanStatus, width: int) -> Block:
    figures = (plan.decode_tok_s_p10, plan.decode_tok_s_p50, plan.decode_tok_s_p90)
    predicted = " · ".join(numbers.rate(figure) for figure in figures)
    has_ended = model.stream_tok_s is not None and is_last(model) and model.n_running < 2
    last = "last " if has_ended else ""
    return [
        *_row("one stream", f"{predicted} tok/s predicted (p10 · p50 · p90)", width),
        *_row("", f"{numbers.rate(model.stream_tok_s)} tok/s {last}measured", width),
    ]


def _memory(plan: PlanStatus, view: View, width: int) -> Block:
    """Device by device, and part by part: what was predicted, what llama.cpp says it took."""
    if not plan.shares:
        return []
    names = {device.id: device.name for device in view.devices}
    n_name = min(_NAME_COLUMNS, max(width - 3 * _FIGURE_COLUMNS, _FIGURE_COLUMNS))
    block: Block = [_cells("memory", ("predicted", "measured", "off by"), n_name, "label")]
    for share in plan.shares:
        block += _share(names.get(share.device_id, share.device_id), share, n_name)
    in_all = (format_bytes(plan.total_bytes), DASH, DASH)
    return [*block, _cells("all together", in_all, n_name, "text"), ()]


def _share(name: str, share: ShareStatus, n_name: int) -> Block:
    measured = share.measured
    taken_bytes = measured.total_bytes if measured else None
    rows: Block = [_memory_row(name, share.predicted.total_bytes, taken_bytes, n_name)]
    for part, label in _PARTS:
        planned = getattr(share.predicted, part)
        taken = getattr(measured, part) if measured else None
        if planned or taken:
            rows.append(_memory_row(f"  {label}", planned, taken, n_name, "dim"))
    if share.overhead_bytes:
        rows.append(_memory_row("  outside llama.cpp", share.overhead_bytes, None, n_name))
    return rows


def _memory_row(
    name: str, predicted: int | None, measured: int | None, n_name: int, tone: Tone = "text"
) -> Line:
    figures = (format_bytes(predicted), format_bytes(measured), numbers.off_by(measured, predicted))
    return _cells(name, figures, n_name, tone)


def _cells(name: str, figures: tuple[str, str, str], n_name: int, tone: Tone) -> Line:
    text = "".join(pad(figure, _FIGURE_COLUMNS, right=True) for figure in figures)
    return (Span(pad(name, n_name) + text, tone),)


def _reasons(plan: PlanStatus, width: int) -> Block:
    if not plan.reasons:
        return []
    lines: Block = [(Span("why", "label"),)]
    for reason in plan.reasons:
        first, *more = wrap(reason, width - 2)
        lines += [(Span("· ", "dim"), Span(first)), *((Span(f"  {part}"),) for part in more)]
    return lines


def _row(label: str, text: str, width: int) -> Block:
    parts = wrap(text, width - _LABEL_COLUMNS)
    return [
        (Span(pad("" if i else label, _LABEL_COLUMNS), "label"), Span(part))
        for i, part in enumerate(parts)
    ]
