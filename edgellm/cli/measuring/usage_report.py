"""What `edgellm usage` prints: who has used what, with a bar of each one's part."""

from collections.abc import Iterable, Iterator, Sequence

from edgellm.cli.progress import bar
from edgellm.harmless import plain
from edgellm.meter.usage.counts import Allowance, MachineRow, Report, Row, added
from edgellm.tables import fitting
from edgellm.tui.drawn.numbers import joules
from edgellm.units import DASH, format_seconds

_HEADINGS = ("REQUESTS", "REFUSED", "PROMPT", "CACHED", "WRITTEN", "TIME", "ENERGY")
_RIGHT = "REQUESTS,REFUSED,PROMPT,CACHED,WRITTEN,TIME,ENERGY"
_BAR = "OF ALL TOKENS"
_DROPPED_FIRST = ("REFUSED", "CACHED", "TIME")
_BAR_CELLS = 16
_ANYBODY = "anybody"  # who asked where no key is needed; no key is called so but by its table


def report_text(told: Report, by: str, since: str, until: str, columns: int | None) -> str:
    """`by`: key, model or day. `columns`: None: any width does."""
    span = f"from {since} to {until}"
    if not told.rows:
        return "\n".join([f"nobody has asked {span}", *_below(told, columns)])
    groups = _grouped(told.rows, by)
    nameless = {"key": _ANYBODY, "model": DASH}.get(by, "")
    rows = [_cells(name or nameless, row, _all_tokens(told.rows)) for name, row in groups.items()]
    if len(groups) > 1:
        rows.append(_cells("all", _summed("", told.rows), None))
    headings = (by.upper(), *_HEADINGS, told.currency, _BAR)
    needless = {"REFUSED"} if not any(row.n_refused for row in told.rows) else set()
    if told.price_per_kwh is None:
        needless.add(told.currency)
    kept = [i for i, heading in enumerate(headings) if heading not in needless]
    text = fitting(
        [headings[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        columns=columns,
        ornaments=(_BAR,),
        may_go=_DROPPED_FIRST,
        right=f"{_RIGHT},{told.currency}",
        above=True,
    )
    return "\n".join([f"used {span}", "", text, *_below(told, columns)])


def _below(told: Report, columns: int | None) -> Iterator[str]:
    if told.machine:
        yield ""
        yield _machine(told.machine, told.currency)
    bounded = [one for one in told.allowances if _is_bounded(one)]
    if bounded:
        headings = ("KEY", "RUNNING", "LEFT THIS MINUTE", "LEFT TODAY")
        rows = [
            (
                plain(one.key),
                _of(one.n_running, one.max_concurrent),
                _of(one.left_this_minute, one.tokens_per_minute),
                _of(one.left_today, one.tokens_per_day),
            )
            for one in bounded
        ]
        yield ""
        yield fitting(headings, rows, columns=columns, right=",".join(headings[1:]), above=True)


def _machine(days: Sequence[MachineRow], currency: str) -> str:
    energy_j = cost = None
    for day in days:
        energy_j, cost = added(energy_j, day.energy_j), added(cost, day.cost)
    money = "" if cost is None else f", {cost:,.2f} {currency}"
    return f"the machine took {joules(energy_j)} in all, idling too{money}"


def _is_bounded(one: Allowance) -> bool:
    return (one.max_concurrent, one.tokens_per_minute, one.tokens_per_day) != (None, None, None)


def _of(n: int | None, bound: int | None) -> str:
    if bound is None:
        return DASH if n is None else f"{n:,}"
    return f"{n or 0:,} of {bound:,}"


def _grouped(rows: Iterable[Row], by: str) -> dict[str, Row]:
    """By name: the days in their order, the others the largest first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(row, by), []).append(row)
    summed = {name: _summed(name, group) for name, group in groups.items()}
    if by == "day":
        return summed
    return dict(sorted(summed.items(), key=lambda one: -one[1].n_tokens))


def _summed(name: str, rows: Iterable[Row]) -> Row:
    whole = Row(day=name, key=name, model=name)
    for row in rows:
        whole.add(row)
        whole.cost = added(whole.cost, row.cost)
    return whole


def _all_tokens(rows: Iterable[Row]) -> int:
    return sum(row.n_tokens for row in rows)


def _cells(name: str, row: Row, n_all: int | None) -> list[str]:
    ratio = row.n_tokens / n_all if n_all else None
    return [
        plain(name),
        f"{row.n_requests:,}",
        f"{row.n_refused:,}" if row.n_refused else "",
        f"{row.n_prompt:,}",
        f"{row.n_cached:,}",
        f"{row.n_output:,}",
        format_seconds(row.work_s),
        DASH if row.energy_j is None else joules(row.energy_j),
        DASH if row.cost is None else f"{row.cost:,.2f}",
        "" if ratio is None else f"{bar(ratio, _BAR_CELLS)} {ratio:.0%}",
    ]
