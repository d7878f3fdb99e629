"""The whole top screen, as a pure function: a view and a size to lines.

What gives way when there is little room, first to last: the log (its own screen has it), the
number of request rows (the title counts them all), cards for a table of devices, rows of the
model's card. The first line, every device and both speeds stay, down to 80×24.
"""

from dataclasses import dataclass

from edgellm.status import Download
from edgellm.tui.drawn import devices, numbers
from edgellm.tui.drawn.lines import Block, Line, Span, bar, beside, box, crop, fit, spread, width_of
from edgellm.tui.drawn.log import log_card
from edgellm.tui.drawn.model import model_card
from edgellm.tui.drawn.sequences import sequence_table
from edgellm.tui.drawn.small import small_screen
from edgellm.tui.drawn.speed import speed_card
from edgellm.tui.view import Played, View
from edgellm.units import MIB, format_rate, format_seconds

MIN_COLUMNS, MIN_ROWS = 60, 16
_WIDE_COLUMNS = 150  # from here on, requests and log stand side by side
_TOP_ROWS, _REQUEST_ROWS, _LOG_ROWS = 7, 6, 3  # with frames; what cards must leave
_TALL_LEFT_ROWS = 16  # for requests and log, before a row of cards grows


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Rows of each band, frames included. It depends on counts, never on figures: no flicker."""

    top: int
    devices: int
    card_columns: int | None  # None: the table
    requests: int
    log: int
    card_rows: int
    side_by_side: bool = False


def arrange(columns: int, rows: int, n_devices: int) -> Arrangement:
    """`rows` are those between the first line and the key legend."""
    card_columns = _card_columns(columns, n_devices)
    n_device_rows = devices.CARD_ROWS * -(-n_devices // card_columns) if n_devices else 3
    if n_device_rows > rows - _TOP_ROWS - _REQUEST_ROWS - _LOG_ROWS:
        card_columns, n_device_rows = 0, max(n_devices, 1) + 3
    top = min(max(rows * 27 // 100, _TOP_ROWS), 13)
    card_rows = devices.CARD_ROWS
    n_bands = n_device_rows // devices.CARD_ROWS
    n_tall_rows = n_bands * devices.TALL_CARD_ROWS
    if card_columns and n_devices and rows - top - n_tall_rows >= n_bands * _TALL_LEFT_ROWS:
        card_rows, n_device_rows = devices.TALL_CARD_ROWS, n_tall_rows
    if rows - top - n_device_rows < 5:
        top = 6
    left = max(rows - top - n_device_rows, 0)
    if columns >= _WIDE_COLUMNS:
        return Arrangement(top, n_device_rows, card_columns or None, left, left, card_rows, True)
    log = max(_LOG_ROWS, left * 2 // 5) if left >= 8 else 0
    return Arrangement(top, n_device_rows, card_columns or None, left - log, log, card_rows)


def _card_columns(columns: int, n_devices: int) -> int:
    """As few rows of cards as fit, and those as even as can be."""
    most = max(min(columns // devices.CARD_MIN_COLUMNS, n_devices), 1)
    n_rows = -(-n_devices // most)
    return -(-n_devices // max(n_rows, 1)) or 1


def dashboard(view: View, columns: int, rows: int) -> Block:
    """`rows` full lines; below the least size as many as there is something to say."""
    head = [banner(view, columns)]
    if view.status and view.status.download:
        head.append(download_line(view.status.download, columns))
    if columns < MIN_COLUMNS or rows < MIN_ROWS:
        whole = f"{MIN_COLUMNS}×{MIN_ROWS + 1}"
        return [*head, *small_screen(view, columns, rows - len(head), whole)][:rows]
    plan = arrange(columns, rows - len(head), len(view.devices))
    half = columns // 2
    block = [
        *head,
        *beside([model_card(view, half, plan.top), speed_card(view, columns - half, plan.top)]),
        *_devices(view, columns, plan),
        *_below(view, columns, plan),
    ]
    return block[:rows]


def _devices(view: View, columns: int, plan: Arrangement) -> Block:
    shown = view.devices
    if not shown:
        unknown: Block = [(Span("no device has reported yet", "dim"),)] if view.status else []
        return box((Span("devices", "strong"),), (), unknown, columns, 3)
    if plan.card_columns is None:
        return devices.table(shown, columns)
    labels, widths = devices.labels(shown), _shares(columns, plan.card_columns)
    tok_s = view.all_decode_tok_s
    block: Block = []
    for start in range(0, len(shown), plan.card_columns):
        row = zip(shown[start:], labels[start:], widths, strict=False)
        cards = [
            devices.card(device, label, view.busy_of(device), width, plan.card_rows, tok_s)
            for device, label, width in row
        ]
        block += [crop(line, columns) for line in beside(cards)]
    return block


def _shares(columns: int, n_parts: int) -> list[int]:
    """`columns` in `n_parts`, differing by at most one."""
    return [(i + 1) * columns // n_parts - i * columns // n_parts for i in range(n_parts)]


def _below(view: View, columns: int, plan: Arrangement) -> Block:
    if plan.side_by_side:
        left = columns * 3 // 5
        return beside(
            [
                sequence_table(view, left, plan.requests),
                log_card(view, columns - left, plan.log),
            ]
        )
    requests = sequence_table(view, columns, plan.requests) if plan.requests >= 3 else []
    return requests + (log_card(view, columns, plan.log) if plan.log else [])


def banner(view: View, columns: int) -> Line:
    """Who is watched, since when, and whether it still answers."""
    version = f" {view.status.version}" if view.status else ""
    left = (Span(" edgellm", "accent"), Span(version, "label"), Span(f"  {view.url}", "label"))
    if view.played:
        return spread(left, _position(view, view.played), columns)
    if view.is_live:
        up = format_seconds(view.status.uptime_s if view.status else None)
        return spread(left, (Span(f"up {up}  ", "label"), Span("● live ", "good")), columns)
    trouble, name = (Span(f" ○ {view.problem} – waiting", "warn"),), (*left[:2], Span(" "))
    fits = width_of(trouble) + width_of(name) < columns
    return spread(trouble, name if fits else (), columns)


def _position(view: View, played: Played) -> Line:
    """ "▶ replay 12 s of 1m40s, 4×": how far a recording has been played."""
    place = f"{format_seconds(played.at_s)} of {format_seconds(played.length_s)}"
    text = f"replay {place}, {played.speed:g}× "
    if view.is_live:
        return (Span("▶ ", "accent"), Span(text))
    return (Span(f"■ {view.problem}  ", "warn"), Span(text, "label"))


def download_line(download: Download, columns: int) -> Line:
    name = Span(f" ↓ {fit(download.name, columns // 3)}  ", "strong")
    if download.error is not None:
        return crop((name, Span(f"stopped: {download.error}", "bad")), columns)
    ratio = numbers.ratio(download.done_bytes, download.total_bytes)
    facts = [
        f"  {numbers.part_of(download.done_bytes, download.total_bytes)}",
        f"  {numbers.percent(ratio)}",
        f"  {format_rate(_mib(download.rate_bytes_s), 'MiB/s')}",
        f"  {format_seconds(_left_s(download))} left ",
    ]
    text = Span("".join(facts))
    room = max(columns - width_of((name, text)), 4)
    return crop((name, *bar(ratio, room), text), columns)


def _mib(rate_bytes_s: float | None) -> float | None:
    return None if rate_bytes_s is None else rate_bytes_s / MIB


def _left_s(download: Download) -> float | None:
    if download.total_bytes is None or not download.rate_bytes_s:
        return None
    return (download.total_bytes - download.done_bytes) / download.rate_bytes_s
