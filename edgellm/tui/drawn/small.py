"""The top screen where no card has room: a telephone over ssh, a corner of a window.

A line for each thing, the most important first; what is below the last row is left out.
"""

from edgellm.status import RATE_WINDOW_S, DeviceStatus, ModelStatus
from edgellm.tui.drawn import numbers
from edgellm.tui.drawn.devices import labels
from edgellm.tui.drawn.lines import Block, Line, Span, crop, fit, joined, pad, width_of, wrap
from edgellm.tui.drawn.model import nothing, state_note, stream_speed, trouble, used_cells
from edgellm.tui.view import View

_LABEL_COLUMNS = 8


def small_screen(view: View, columns: int, rows: int, whole: str) -> Block:
    """`rows` lines below the banner; `whole` is the size that shows all of it."""
    model, inner = view.model, columns - 1
    told = _model(model, view, inner) if model else nothing(view, inner)
    named = zip(view.devices, labels(view.devices), strict=True)
    block = [*told, *(_device(device, label, inner) for device, label in named)]
    if len(block) < rows:
        block += [(), *((Span(part, "dim"),) for part in wrap(f"{whole} shows all of it", inner))]
    return [crop((Span(" "), *line), columns) for line in block[:rows]]


def _model(model: ModelStatus, view: View, width: int) -> Block:
    note = state_note(model, view)
    room = max(width - width_of(note) - 2, 0)
    full = numbers.percent(numbers.ratio(model.n_cells_used, model.n_cells))
    beside = width - _LABEL_COLUMNS
    mean = f"tok/s, {RATE_WINDOW_S:.0f} s mean"
    plan = model.plan
    return [
        (Span(f"{fit(model.name, room)}  ", "strong"), *note),
        *trouble(model, width),
        *([_labelled("speed", stream_speed(model, plan, beside))] if plan else ()),
        _labelled("decode", f"{numbers.rate(model.decode_tok_s)} {mean}"),
        _labelled("prefill", f"{numbers.rate(model.prefill_tok_s)} {mean}"),
        _labelled("asked", f"{model.n_running} running · {model.n_waiting} waiting"),
        _labelled("cells", f"{used_cells(model)}  {full}"),
    ]


def _device(device: DeviceStatus, label: str, width: int) -> Line:
    """Its memory and load, and its heat and power where sensors tell."""
    facts = [
        numbers.part_of(device.used_bytes, device.total_bytes),
        numbers.percent(device.busy_ratio),
        *([numbers.celsius(device.temperature_c)] if device.temperature_c is not None else ()),
        *([numbers.watts(device.power_w)] if device.power_w is not None else ()),
    ]
    if device.throttle:
        facts.insert(0, "! throttled")
    name = Span(f"{fit(label, max(width // 3, _LABEL_COLUMNS))} ", "label")
    return (name, Span(joined(facts, width - width_of((name,)))))


def _labelled(label: str, text: str) -> Line:
    return (Span(pad(label, _LABEL_COLUMNS), "label"), Span(text))
