"""Devices as cards, or as a table where cards have no room."""

from collections.abc import Sequence

from rich.cells import cell_len

from edgellm.status import DeviceStatus
from edgellm.tui import braille, numbers
from edgellm.tui.lines import Block, Line, Span, Tone, bar, box, fit, pad, width_of
from edgellm.tui.view import History

CARD_ROWS = 5  # with its frame
CARD_MIN_COLUMNS = 30

_HOT_C, _WARM_C = 85.0, 75.0
_FULL, _NEARLY_FULL = 0.97, 0.90
_SIZE_COLUMNS = 14  # "179.1/179.1 GiB" is rare, and may take from the bar


def card(device: DeviceStatus, busy: History, width: int) -> Block:
    """Its memory, its load with a short history, and its sensors, in a frame of `width`."""
    inner = width - 4
    note = _note(device)
    title = (Span(short_name(device.name, inner - width_of(note) - 5), "strong"),)
    body = [
        _memory(device, inner),
        _load(device, busy, inner),
        _sensors(device, inner),
    ]
    return box(title, note, body, width, CARD_ROWS)


def table(devices: Sequence[DeviceStatus], width: int) -> Block:
    """A line a device, in a frame: what `card` shows, but for the history."""
    inner = width - 4
    body = [_table_head(inner), *(_table_row(device, inner) for device in devices)]
    title = (Span("devices", "strong"),)
    throttled = sum(1 for device in devices if device.throttle)
    note = (Span(f"! {throttled} throttled", "warn"),) if throttled else ()
    return box(title, note, body, width, len(body) + 2)


def _note(device: DeviceStatus) -> Line:
    if device.throttle:
        return (Span(f"! {' '.join(device.throttle)}", "warn"),)
    return (Span(f"{device.backend} unified" if device.unified else device.backend, "dim"),)


def _memory(device: DeviceStatus, width: int) -> Line:
    used = numbers.part_of(device.used_bytes, device.total_bytes)
    ratio = numbers.ratio(device.used_bytes, device.total_bytes)
    used = pad(used, max(_SIZE_COLUMNS, len(used)), right=True)
    gauge = bar(ratio, width - 5 - len(used) - 1, _fill_tone(ratio))
    return (Span("mem  ", "label"), *gauge, Span(f" {used}"))


def _load(device: DeviceStatus, busy: History, width: int) -> Line:
    share = pad(numbers.percent(device.busy_ratio), _SIZE_COLUMNS, right=True)
    (past,) = braille.graph(busy, width - 5 - len(share) - 1, 1, top=1.0)
    return (Span("load ", "label"), Span(past, "fill"), Span(f" {share}"))


def _sensors(device: DeviceStatus, width: int) -> Line:
    heat = numbers.celsius(device.temperature_c)
    power = numbers.watts(device.power_w, device.power_limit_w)
    clock = numbers.hertz(device.clock_hz)
    left = max(width - 5 - cell_len(heat + power + clock), 2)
    return (
        Span("temp ", "label"),
        Span(heat, _heat_tone(device.temperature_c)),
        Span(f"{' ' * (left // 2)}{power}{' ' * (left - left // 2)}{clock}"),
    )


_NUMBERS_COLUMNS = 48  # memory 16, load 6, temperature 7, power 10, clock 9
_NOTE_COLUMNS = 12


def _table_columns(width: int) -> tuple[int, int]:
    """Cells for the name and for the memory bar, which narrow screens do without."""
    left = width - _NUMBERS_COLUMNS - _NOTE_COLUMNS
    gauge = left // 2 if left >= 32 else 0
    return max(left - gauge, 8), gauge


def _table_head(width: int) -> Line:
    name, gauge = _table_columns(width)
    heads = (
        pad("name", name + gauge),
        pad("memory", 16, right=True),
        pad("load", 6, right=True),
        pad("temp", 7, right=True),
        pad("power", 10, right=True),
        pad("clock", 9, right=True),
        pad("  backend", _NOTE_COLUMNS),
    )
    return (Span("".join(heads), "label"),)


def _table_row(device: DeviceStatus, width: int) -> Line:
    name, gauge = _table_columns(width)
    ratio = numbers.ratio(device.used_bytes, device.total_bytes)
    figures = (
        pad(numbers.part_of(device.used_bytes, device.total_bytes), 16, right=True),
        pad(numbers.percent(device.busy_ratio), 6, right=True),
    )
    heat = pad(numbers.celsius(device.temperature_c), 7, right=True)
    power = pad(numbers.watts(device.power_w, device.power_limit_w), 10, right=True)
    clock = pad(numbers.hertz(device.clock_hz), 9, right=True)
    return (
        Span(pad(short_name(device.name, name - 1), name), "strong"),
        *(bar(ratio, gauge, _fill_tone(ratio)) if gauge else ()),
        Span("".join(figures)),
        Span(heat, _heat_tone(device.temperature_c)),
        Span(power + clock + "  "),
        *_note(device),
    )


def short_name(name: str, width: int) -> str:
    """What tells two cards apart stands last in their names: the maker goes first."""
    for noise in _NOISE:
        if cell_len(name) <= width:
            break
        name = " ".join(name.replace(noise, " ").split())
    return fit(name, width)


_NOISE = ("(R)", "(TM)", "NVIDIA ", "GeForce ", "AMD ", "Radeon ", "Intel ")


def _heat_tone(temperature_c: float | None) -> Tone:
    if temperature_c is None or temperature_c < _WARM_C:
        return "text"
    return "warn" if temperature_c < _HOT_C else "bad"


def _fill_tone(ratio: float | None) -> Tone:
    if ratio is None or ratio < _NEARLY_FULL:
        return "fill"
    return "warn" if ratio < _FULL else "bad"
