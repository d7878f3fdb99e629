"""What `edgellm cost` prints: tables, assumptions, and a picture of both ways to pay."""

from collections.abc import Sequence

from edgellm.cli.measuring.costs import Costs, Pace
from edgellm.cli.measuring.plotting import blank, drawn
from edgellm.meter.energy.cost import HOURS_A_YEAR
from edgellm.tables import bullets, table, wrapped
from edgellm.units import DASH, format_rate

_PARTS = (
    ("energy", "energy"), ("standing charges", "standing"),
    ("purchase", "purchase"), ("all", "total"),
)  # fmt: skip
_PLOT_LINES, _N_POINTS, _N_TICKS = 16, 60, 4


def report(made: Costs, columns: int) -> str:
    where, how = _where(made.pace), f"{format_rate(made.pace.tok_s)}   {_watts(made.pace.watts)}"
    parts = [
        *([f"{where}   {how}"] if len(where) + 3 + len(how) <= columns else (where, f"  {how}")),
        "",
        *([_own_table(made)] if made.per_hour.total is not None else _nothing_known(made, columns)),
        "",
        _cloud_table(made),
        "",
        "assumed",
        *bullets(made.assumptions, columns),
    ]
    if made.owned.capex:
        parts += ["", _plot(made, columns)]
    return "\n".join(parts)


def _where(pace: Pace) -> str:
    return f"{pace.model} at {pace.url}" if pace.url else pace.model


def _nothing_known(made: Costs, columns: int) -> list[str]:
    """In place of a table of dashes: what would fill it."""
    watts = "" if made.pace.watts is not None else " --watts 150"
    told = [
        "--capex 2400: what it was bought for",
        f"--per-kwh 0.31{watts}: its energy",
        "--monthly 30: what stands beside it, such as a rack or a line",
    ]
    if watts and not made.pace.url:
        told.append("a server that runs (edgellm serve) tells the watts, where a sensor does")
    words = "what THIS MACHINE costs is not known: add what you know of it, for example"
    return [*wrapped(words, columns), *bullets(told, columns)]


def _own_table(made: Costs) -> str:
    rows: list[tuple[str, str, str]] = []
    for label, name in _PARTS:
        per_token = getattr(made.per_million, name) if made.per_million else None
        rows.append((label, _money(getattr(made.per_hour, name)), _money(per_token)))
    if None in (made.per_hour.energy, made.per_hour.standing, made.per_hour.purchase):
        rows[-1] = ("all that is known", *rows[-1][1:])
    if made.per_request is not None:
        rows.append(("a request", _money(made.per_request), ""))
    head = (f"THIS MACHINE, {made.currency}", "AN HOUR", "A MILLION TOKENS")
    return table(head, rows, right="AN HOUR,A MILLION TOKENS")


def _cloud_table(made: Costs) -> str:
    head: Sequence[str] = (
        "RENTED",
        "AN HOUR",
        "TOK/S",
        "A MILLION TOKENS",
        "BREAK-EVEN",
        "A REQUEST",
    )
    rows: list[Sequence[str]] = [
        (
            row.name,
            _money(row.per_hour),
            format_rate(row.tok_s, ""),
            _money(row.per_million),
            "never" if row.break_even_h is None else f"{row.break_even_h:,.0f} h",
            _money(row.per_request),
        )
        for row in made.cloud
    ]
    if not any(row.per_request is not None for row in made.cloud):
        head, rows = head[:-1], [row[:-1] for row in rows]
    if not made.owned.capex:  # nothing was paid that could come back
        head, rows = (*head[:4], *head[5:]), [(*row[:4], *row[5:]) for row in rows]
    return table(head, rows, right=",".join(head[1:]))


def _money(amount: float | None) -> str:
    """Cents below a hundred, and what is less than a cent with two figures."""
    if amount is None:
        return DASH
    if 0 < abs(amount) < 0.1:
        return f"{amount:.2g}"
    return f"{amount:,.2f}"


def _watts(watts: float | None) -> str:
    return f"{DASH} W" if watts is None else f"{watts:.0f} W"


def _ticks(most: float) -> tuple[list[float], list[str]]:
    """From nothing to `most`: where, and what stands there."""
    places = [most * i / _N_TICKS for i in range(_N_TICKS + 1)]
    digits = 0 if most >= 100 else 2
    return places, [f"{place:,.{digits}f}" for place in places]


def _plot(made: Costs, columns: int) -> str:
    """All that was paid, over hours of use: this machine's line and those it crosses first."""
    crossed = sorted(
        (row for row in made.cloud if row.break_even_h is not None),
        key=lambda row: row.break_even_h or 0.0,
        reverse=True,
    )[:2]
    most = 1.5 * max((row.break_even_h or 0.0 for row in crossed), default=HOURS_A_YEAR / 1.5)
    hours = [i * most / _N_POINTS for i in range(_N_POINTS + 1)]
    plotext = blank(columns, _PLOT_LINES)
    lines: Sequence[tuple[str, list[float], str]] = [
        ("this machine", [made.owned.after(h) for h in hours], "braille"),
        *(
            (row.name, [row.per_hour * h for h in hours], marker)
            for row, marker in zip(crossed, ("dot", "hd"), strict=False)
        ),
    ]
    for name, paid, marker in lines:
        plotext.plot(hours, paid, marker=marker, label=name)
    plotext.xticks(*_ticks(most))
    plotext.yticks(*_ticks(max(max(paid) for _, paid, _ in lines)))
    plotext.title(f"{made.currency} paid, over hours of use")
    return drawn()
