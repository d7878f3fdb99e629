"""Devices as cards, or as a table where cards have no room."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from edgellm.status import DeviceStatus
from edgellm.tables import short_name
from edgellm.tui.drawn import braille, numbers
from edgellm.tui.drawn.lines import Block, Line, Span, Tone, bar, box, fit, pad, width_of
from edgellm.tui.view import History
from edgellm.units import DASH

_BACKENDS = {  # as their makers write them
    "cpu": "CPU", "cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan",
    "metal": "Metal", "sycl": "SYCL", "cann": "CANN", "musa": "MUSA",
    "opencl": "OpenCL", "none": "not used",
}  # fmt: skip

CARD_ROWS, TALL_CARD_ROWS = 5, 7  # with its frame
CARD_MIN_COLUMNS = 30

_HOT_C, _WARM_C = 85.0, 75.0
_SPOT_C = 20.0  # by so much memory and the hottest place may be hotter than the chip's edge
_FULL, _NEARLY_FULL = 0.97, 0.90
_FIGURE_COLUMNS = 14  # "12.6/24.0 GiB", a blank before it; both bars of a card end there


def labels(devices: Sequence[DeviceStatus]) -> list[str]:
    """Their names; those of the same name are counted, from 0 as their makers do. On a chip that is
    both, the processor is told from the graphics."""
    names = [device.name + _kind(device, devices) for device in devices]
    return [
        f"{names[:i].count(name)} {name}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _kind(device: DeviceStatus, devices: Sequence[DeviceStatus]) -> str:
    is_cpu = {one.backend == "cpu" for one in devices if one.name == device.name}
    if len(is_cpu) == 1:
        return ""
    return " CPU" if device.backend == "cpu" else " GPU"


def card(
    device: DeviceStatus,
    label: str,
    busy: History,
    width: int,
    rows: int = CARD_ROWS,
    tok_s: float | None = None,
) -> Block:
    """Its memory, its load with a short history, and its sensors, in a frame of `width`; a tall
    one has its further sensors, and what a token takes at the `tok_s` of all models together."""
    inner = width - 4
    note = _note(device)
    room = inner - width_of(note) - 5
    title = (Span(fit(short_name(label, room), room), "strong"),)
    body = [
        _memory(device, inner),
        _load(device, busy, inner),
        _sensors(device, inner),
        _further(device, inner),
        _efficiency(device, tok_s, inner),
    ]
    return box(title, note, body[: rows - 2], width, rows)


def table(devices: Sequence[DeviceStatus], width: int) -> Block:
    """A line a device, in a frame: what `card` shows, but for the history."""
    inner = width - 4
    body = [
        _table_head(inner),
        *(_table_row(*pair, inner) for pair in zip(devices, labels(devices), strict=True)),
    ]
    title = (Span("devices", "strong"),)
    throttled = sum(1 for device in devices if device.throttle)
    note = (Span(f"! {throttled} throttled", "warn"),) if throttled else ()
    return box(title, note, body, width, len(body) + 2)


def _note(device: DeviceStatus) -> Line:
    if device.throttle:
        return (Span(f"! {' '.join(device.throttle)}", "warn"),)
    backend = _BACKENDS.get(device.backend, device.backend)
    return (Span(f"{backend} unified" if device.unified else backend, "dim"),)


def _memory(device: DeviceStatus, width: int) -> Line:
    ratio = numbers.ratio(device.used_bytes, device.total_bytes)
    used = _used(device, width)
    gauge = bar(ratio, width - 5 - len(used), _fill_tone(ratio))
    return (Span("mem  ", "label"), *gauge, Span(used))


def _load(device: DeviceStatus, busy: History, width: int) -> Line:
    share = pad(numbers.percent(device.busy_ratio), len(_used(device, width)), right=True)
    (past,) = braille.graph(busy, width - 5 - len(share), 1, top=1.0)
    return (Span("load ", "label"), Span(past, "fill"), Span(share))


def _used(device: DeviceStatus, width: int) -> str:
    used = f" {numbers.part_of(device.used_bytes, device.total_bytes)}"
    return used.rjust(_FIGURE_COLUMNS) if width >= 32 else used


def _sensors(device: DeviceStatus, width: int) -> Line:
    return _thirds(
        ("temp ", numbers.celsius(device.temperature_c), _heat_tone(device.temperature_c)),
        ("", numbers.watts(device.power_w, device.power_limit_w), "text"),
        ("", numbers.hertz(device.clock_hz), "text"),
        width,
    )


def _further(device: DeviceStatus, width: int) -> Line:
    return _thirds(
        ("hot ", numbers.celsius(device.hotspot_c), _spot_tone(device.hotspot_c)),
        ("memory ", numbers.celsius(device.memory_c), _spot_tone(device.memory_c)),
        ("fan ", numbers.percent(device.fan_ratio), "text"),
        width,
    )


def _efficiency(device: DeviceStatus, tok_s: float | None, width: int) -> Line:
    """Slowed: a dash where no sensor would tell."""
    slowed = "yes" if device.throttle else "no" if device.sees_throttle else DASH
    lanes = DASH if device.n_lanes is None else f"×{device.n_lanes}"
    per_token = numbers.joules_per_token(numbers.ratio(device.power_w, tok_s))
    return _thirds(
        ("slowed ", slowed, "warn" if device.throttle else "text"),
        ("", per_token, "text"),
        ("PCIe ", lanes, "text"),
        width,
    )


def _thirds(
    first: tuple[str, str, Tone],
    second: tuple[str, str, Tone],
    third: tuple[str, str, Tone],
    width: int,
) -> Line:
    """(label, figure, its tone) at the left edge, in the middle and at the right one. Where that is
    too tight the labels go."""
    parts = (first, second, third)
    if width - sum(cell_len(label + figure) for label, figure, _ in parts) < 2:
        parts = (("", *first[1:]), ("", *second[1:]), ("", *third[1:]))
    begins, middle, ends = (cell_len(label + figure) for label, figure, _ in parts)
    free = max(width - begins - middle - ends, 2)
    before = min(max((width - middle) // 2 - begins, 1), free - 1)
    gaps = (" " * before, " " * (free - before), "")
    return tuple(
        span
        for (label, figure, tone), gap in zip(parts, gaps, strict=True)
        for span in (Span(label, "label"), Span(figure, tone), Span(gap))
    )


_NUMBERS_COLUMNS = 39  # memory 16, load 6, temperature 7, power 10
_CLOCK_COLUMNS, _NOTE_COLUMNS = 9, 12
_NAME_COLUMNS = 14  # "Ryzen 7 5800X": what a name needs before other columns get room


@dataclass(frozen=True, slots=True)
class _Columns:
    """What a table has room for, beside its names and figures: first the clock, then the note,
    then a bar. Without the note a slowed device is marked at its name."""

    name: int
    bar: int
    has_clock: bool
    has_note: bool


def _columns(width: int) -> _Columns:
    left = width - _NUMBERS_COLUMNS
    has_clock = left >= _NAME_COLUMNS + _CLOCK_COLUMNS
    left -= _CLOCK_COLUMNS * has_clock
    has_note = left >= _NAME_COLUMNS - 6 + _NOTE_COLUMNS
    left -= _NOTE_COLUMNS * has_note
    n_bar = left // 2 if left >= 32 else 0
    return _Columns(left - n_bar, n_bar, has_clock, has_note)


def _table_head(width: int) -> Line:
    columns = _columns(width)
    heads = (
        pad("name", columns.name + columns.bar),
        pad("memory", 16, right=True),
        pad("load", 6, right=True),
        pad("temp", 7, right=True),
        pad("power", 10, right=True),
        pad("clock", _CLOCK_COLUMNS, right=True) if columns.has_clock else "",
        pad("  backend", _NOTE_COLUMNS) if columns.has_note else "",
    )
    return (Span("".join(heads), "label"),)


def _table_row(device: DeviceStatus, label: str, width: int) -> Line:
    columns = _columns(width)
    mark = "! " if device.throttle and not columns.has_note else ""
    name = columns.name - len(mark)
    ratio = numbers.ratio(device.used_bytes, device.total_bytes)
    figures = (
        pad(numbers.part_of(device.used_bytes, device.total_bytes), 16, right=True),
        pad(numbers.percent(device.busy_ratio), 6, right=True),
    )
    heat = pad(numbers.celsius(device.temperature_c), 7, right=True)
    power = pad(numbers.watts(device.power_w, device.power_limit_w), 10, right=True)
    clock = pad(numbers.hertz(device.clock_hz), _CLOCK_COLUMNS, right=True)
    return (
        *((Span(mark, "warn"),) if mark else ()),
        Span(pad(fit(short_name(label, name - 1), name - 1), name), "strong"),
        *(bar(ratio, columns.bar, _fill_tone(ratio)) if columns.bar else ()),
        Span("".join(figures)),
        Span(heat, _heat_tone(device.temperature_c)),
        Span(power + (clock if columns.has_clock else "")),
        *((Span("  "), *_note(device)) if columns.has_note else ()),
    )


def _heat_tone(temperature_c: float | None) -> Tone:
    if temperature_c is None or temperature_c < _WARM_C:
        return "text"
    return "warn" if temperature_c < _HOT_C else "bad"


def _spot_tone(temperature_c: float | None) -> Tone:
    return _heat_tone(None if temperature_c is None else temperature_c - _SPOT_C)


def _fill_tone(ratio: float | None) -> Tone:
    if ratio is None or ratio < _NEARLY_FULL:
        return "fill"
    return "warn" if ratio < _FULL else "bad"
