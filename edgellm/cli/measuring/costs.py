"""The figures of `edgellm cost`, and all that they assume."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgellm.errors import BadRequest
from edgellm.meter.energy.cost import (
    HOURS_A_MONTH,
    HOURS_A_YEAR,
    Owned,
    break_even_h,
    owned_per_request,
    per_million,
    rented_per_request,
)
from edgellm.units import format_rate

if TYPE_CHECKING:
    from edgellm.cli.flags.cost_inputs import CostInputs
    from edgellm.config import Config
    from edgellm.profiles import CloudPrice, Prices


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and at what power, and where that is known from."""

    model: str
    tok_s: float | None
    tok_s_from: str
    watts: float | None
    watts_from: str
    url: str | None = None  # of the server that tells; None: nobody serves it


@dataclass(frozen=True, slots=True)
class Parts:
    """Money; None: a part that nobody knows."""

    energy: float | None
    standing: float | None
    purchase: float | None
    total: float | None  # of what is known


@dataclass(frozen=True, slots=True)
class Cloud:
    name: str
    per_hour: float
    tok_s: float | None  # predicted, one stream
    per_million: float | None
    break_even_h: float | None  # of use; None: never
    per_request: float | None
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Costs:
    pace: Pace
    currency: str
    owned: Owned
    per_hour: Parts
    per_million: Parts | None
    per_request: float | None
    cloud: tuple[Cloud, ...]
    assumptions: tuple[str, ...]


def costs(
    pace: Pace,
    inputs: "CostInputs",
    config: "Config",
    prices: "Prices",
    cloud_tok_s: Mapping[str, float | None],
) -> Costs:
    """Raises BadRequest for prices in two currencies and no rate between them."""
    rate, pace = _rate(inputs, config), _overridden(pace, inputs)
    owned = _owned(pace, inputs, config)
    asked, per_hour = inputs.requests_per_day, _parts(owned, inputs)
    cloud = tuple(
        _cloud(row, rate, cloud_tok_s.get(row.name), owned, asked, prices.date)
        for row in prices.cloud
    )
    return Costs(
        pace=pace,
        currency=config.currency,
        owned=owned,
        per_hour=per_hour,
        per_million=_times(per_hour, per_million(1.0, pace.tok_s)) if pace.tok_s else None,
        per_request=owned_per_request(owned, asked)
        if asked and per_hour.total is not None
        else None,
        cloud=cloud,
        assumptions=(
            *_missing(pace, owned, inputs),
            *_assumptions(pace, owned, inputs, config.currency, rate, _span(cloud)),
        ),
    )


def _rate(inputs: "CostInputs", config: "Config") -> float:
    """One dollar in the configuration's currency."""
    if config.currency != "USD" and inputs.usd is None:
        raise BadRequest(
            f"cloud prices are in USD, and the configuration's currency is {config.currency}",
            hint="say what one dollar is in it: --usd 0.92",
        )
    return inputs.usd or 1.0


def _owned(pace: Pace, inputs: "CostInputs", config: "Config") -> Owned:
    return Owned(
        capex=inputs.capex or 0.0,
        monthly=inputs.monthly or 0.0,
        years=inputs.years,
        utilisation=inputs.utilisation,
        watts=pace.watts,
        per_kwh=config.energy_price_per_kwh if inputs.per_kwh is None else inputs.per_kwh,
    )


def _overridden(pace: Pace, inputs: "CostInputs") -> Pace:
    given = "as given"
    return replace(
        pace,
        tok_s=inputs.tok_s or pace.tok_s,
        tok_s_from=given if inputs.tok_s else pace.tok_s_from,
        watts=pace.watts if inputs.watts is None else inputs.watts,
        watts_from=pace.watts_from if inputs.watts is None else given,
    )


def _parts(owned: Owned, inputs: "CostInputs") -> Parts:
    """By the hour. What was not given is not known: not the same as free."""
    energy = owned.energy_per_hour
    standing = None if inputs.monthly is None else owned.standing_per_hour
    purchase = None if inputs.capex is None else owned.purchase_per_hour
    is_known = any(part is not None for part in (energy, standing, purchase))
    return Parts(energy, standing, purchase, owned.per_hour if is_known else None)


def _times(parts: Parts, n: float) -> Parts:
    return Parts(
        *(
            None if part is None else part * n
            for part in (parts.energy, parts.standing, parts.purchase, parts.total)
        )
    )


def _cloud(
    row: "CloudPrice",
    rate: float,
    tok_s: float | None,
    owned: Owned,
    requests_a_day: float | None,
    date: str,
) -> Cloud:
    per_hour = row.per_hour * rate
    return Cloud(
        name=row.name,
        per_hour=per_hour,
        tok_s=tok_s,
        per_million=per_million(per_hour, tok_s) if tok_s else None,
        break_even_h=break_even_h(owned, per_hour) if owned.capex else None,
        per_request=rented_per_request(per_hour, requests_a_day) if requests_a_day else None,
        source=row.source,
        date=row.date or date,
    )


def _span(cloud: Sequence[Cloud]) -> str:
    """Of the prices' dates, by the month: "2026-02 to 2026-03"."""
    months = sorted({row.date[:7] for row in cloud})
    return " to ".join(dict.fromkeys((months[0], months[-1])))


def _missing(pace: Pace, owned: Owned, inputs: "CostInputs") -> Iterator[str]:
    """What is not counted, and the flag that tells it."""
    if pace.tok_s is None:
        yield "what a token costs is not known: no speed is (--tok-s)"
    if owned.energy_per_hour is None:
        lacks = [
            words
            for words, value in (
                ("no power is known (--watts)", owned.watts),
                ("no price of a kWh is set (--per-kwh)", owned.per_kwh),
            )
            if value is None
        ]
        yield f"energy is not counted: {' and '.join(lacks)}"
    if inputs.capex is None:
        yield "the purchase is not counted: no price is given (--capex)"
    if inputs.monthly is None:
        yield "standing charges are not counted: none are given (--monthly)"


def _assumptions(
    pace: Pace, owned: Owned, inputs: "CostInputs", currency: str, rate: float, dates: str
) -> Iterator[str]:
    yield f"speed: {format_rate(pace.tok_s)}, {pace.tok_s_from}; prompts are read in no time"
    if owned.energy_per_hour is not None:
        yield (
            f"energy: {owned.watts:.0f} W, {pace.watts_from}, at {owned.per_kwh:g} {currency}/kWh; "
            "while it idles, none"
        )
    exchanged = "" if currency == "USD" else f"1 USD = {rate:g} {currency}, "
    used = f"of which {owned.utilisation:.0%} are used"
    if inputs.capex is not None:
        yield (
            f"the purchase, {owned.capex:,.0f} {currency}, is written off over {owned.years:g} "
            f"years of {HOURS_A_YEAR:.0f} hours, {used}, and worth nothing then"
        )
    if inputs.monthly is not None:
        yield (
            f"standing charges: {owned.monthly:,.0f} {currency} a month of "
            f"{HOURS_A_MONTH:.0f} hours, {used}"
        )
    yield (
        f"cloud prices are of {dates}, on demand, {exchanged}at the predicted "
        "speed of one stream of the same file, every rented hour used; --json has their sources"
    )
    if owned.capex:
        yield (
            "break-even: purchase / (rent - standing charges - energy), in hours of use, an hour "
            "here counted as one there"
        )
    if inputs.requests_per_day:
        asked = inputs.requests_per_day
        yield f"a request: a day's cost / {asked:g}; what is rented is rented all day"
