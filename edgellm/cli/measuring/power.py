"""`edgellm tune MODEL --power`: how much energy a token takes at each power limit.

The limits are moved while it measures, and moved back whatever happens: Ctrl-C, an error, a signal
that ends it. Against SIGKILL nothing helps, so what would move them back is said before. What is
worth keeping is said, with the command that would set it, and not set.
"""

import asyncio
import math
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from edgellm.cli.measuring.plotting import plot
from edgellm.cli.signals import handled_by
from edgellm.errors import BadRequest, EdgellmError
from edgellm.meter.energy.joules import Meter
from edgellm.meter.energy.power_curve import Point, ratios, thriftiest
from edgellm.meter.energy.power_limit import PowerLimit, PowerRange
from edgellm.meter.sampler import Sampler
from edgellm.selector.plan import Plan
from edgellm.tables import table
from edgellm.units import DASH, format_rate

_SETTLE_S, _MEASURE_S = 3.0, 10.0  # a card needs some seconds to find its clock
_LOOK_S = 0.25
_ENDS = (signal.SIGTERM, signal.SIGHUP)  # SIGINT is asyncio's own

Decode = Callable[[], Awaitable[int]]  # one answer; how many tokens it had
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards that a model is on, as they were found."""

    limits: tuple[PowerLimit, ...]
    found: tuple[PowerRange, ...]

    @classmethod
    def of(cls, limits: Sequence[PowerLimit]) -> "Cards":
        """Raises BadRequest for none, EdgellmError where a driver tells no limits."""
        if not limits:
            raise BadRequest(
                "this model runs on no card whose power could be limited",
                hint="--power is for NVIDIA and AMD cards; edgellm cost tells what a token costs",
            )
        return cls(tuple(limits), tuple(limit.read() for limit in limits))

    @property
    def ratios(self) -> tuple[float, ...]:
        """Those of its default that every card allows."""
        return ratios(
            max(one.least_w / one.default_w for one in self.found),
            min(one.most_w / one.default_w for one in self.found),
        )

    def watts(self, ratio: float) -> float:
        return sum(_whole_w(one, ratio) for one in self.found)

    def set(self, ratio: float) -> None:
        for limit, found in zip(self.limits, self.found, strict=True):
            limit.set(_whole_w(found, ratio))

    def try_out(self) -> None:
        """Each card gets the limit that it has: who may not move it is told before a model is
        loaded. Raises EdgellmError."""
        for limit, found in zip(self.limits, self.found, strict=True):
            limit.set(found.set_w)

    def commands(self, ratio: float) -> Iterator[str]:
        for limit, found in zip(self.limits, self.found, strict=True):
            yield limit.command(_whole_w(found, ratio))

    def commands_back(self) -> Iterator[str]:
        for limit, found in zip(self.limits, self.found, strict=True):
            yield limit.command(found.set_w)

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Every card gets back what it had, even if another one refuses. Raises EdgellmError."""
        try:
            yield
        finally:
            refused = list[str]()
            # An impatient second Ctrl-C must not leave a card with a limit that isn't its own.
            with handled_by(dict.fromkeys((signal.SIGINT, *_ENDS), signal.SIG_IGN)):
                for limit, found in zip(self.limits, self.found, strict=True):
                    try:
                        limit.set(found.set_w)
                    except EdgellmError as error:
                        refused.append(f"{limit.device_id} should have {found.set_w:g} W: {error}")
            if refused:
                raise EdgellmError("a power limit could not be put back: " + "; ".join(refused))


def _whole_w(found: PowerRange, ratio: float) -> int:
    """Whole watts, of those that the card allows."""
    watts = round(ratio * found.default_w)
    return min(max(watts, math.ceil(found.least_w)), math.floor(found.most_w))


async def curve(cards: Cards, decode: Decode, sampler: Sampler, say: Say) -> tuple[Point, ...]:
    """A point for each limit. Raises EdgellmError; the limits are put back in any case."""
    points = list[Point]()
    with cards.put_back():
        for ratio in cards.ratios:
            cards.set(ratio)
            await _decode_for(_SETTLE_S, decode)
            point = await _point(cards, ratio, decode, sampler)
            points.append(point)
            say(f"{point.limit_w:>6.0f} W  {_figures(point)}")
    return tuple(points)


async def _point(cards: Cards, ratio: float, decode: Decode, sampler: Sampler) -> Point:
    watching = asyncio.create_task(_mean_w(cards, sampler))
    begun_s = time.monotonic()
    try:
        n_tokens = await _decode_for(_MEASURE_S, decode)
        seconds = time.monotonic() - begun_s
    finally:
        watching.cancel()
    power_w = await watching
    return Point(ratio, cards.watts(ratio), n_tokens / seconds, power_w)


async def _decode_for(seconds: float, decode: Decode) -> int:
    stop_s, n_tokens = time.monotonic() + seconds, 0
    while time.monotonic() < stop_s:
        n_tokens += await decode()
    return n_tokens


async def _mean_w(cards: Cards, sampler: Sampler) -> float | None:
    """Of these cards together, until it is cancelled; by counters where there are any."""
    ids = {limit.device_id for limit in cards.limits}
    meter, joules, first_s, last_s = Meter(), 0.0, None, None
    try:
        while True:
            samples = [one for one in sampler.latest() if one.device_id in ids]
            told_j = meter.add(samples)
            at_s = max((one.at_s for one in samples), default=None)
            if first_s is None:
                first_s = at_s
            if told_j is not None:
                joules, last_s = joules + told_j, at_s
            await asyncio.sleep(_LOOK_S)
    except asyncio.CancelledError:
        if first_s is None or last_s is None or last_s <= first_s:
            return None
        return joules / (last_s - first_s)


def measure(path: Path, plan: Plan, cards: Cards, sampler: Sampler, say: Say) -> tuple[Point, ...]:
    """With a worker of its own, one stream. Raises EdgellmError, and KeyboardInterrupt for every
    signal that ends it."""
    from edgellm.cli.measuring.trials import serving

    async def run() -> tuple[Point, ...]:
        if own := asyncio.current_task():
            for number in _ENDS:
                asyncio.get_running_loop().add_signal_handler(number, own.cancel)
        sampler.start()
        try:
            async with serving(path, plan) as decode:
                return await curve(cards, decode, sampler, say)
        finally:
            sampler.stop()

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def rows(points: Sequence[Point]) -> list[dict[str, float | None]]:
    """For --json."""
    return [{**asdict(point), "j_per_token": point.j_per_token} for point in points]


def report(points: Sequence[Point], cards: Cards) -> str:
    cells = [
        (f"{point.limit_w:.0f} W", f"{point.limit_ratio:.0%}", *_cells(point)) for point in points
    ]
    head = ("LIMIT", "OF DEFAULT", "TOK/S", "POWER", "J/TOKEN")
    parts = [table(head, cells, right=",".join(head))]
    seen = sorted((p.limit_w, p.j_per_token) for p in points if p.j_per_token is not None)
    if len(seen) > 1:
        parts.append(
            plot([w for w, _ in seen], [j for _, j in seen], "J/token against the limit, W")
        )
    parts.append(_advice(points, cards))
    return "\n\n".join(parts)


def _advice(points: Sequence[Point], cards: Cards) -> str:
    best = thriftiest(points)
    if best is None:
        return "these cards tell no power: nothing can be said of energy"
    commands = "\n".join(f"  {line}" for line in cards.commands(best.limit_ratio))
    return (
        f"least energy at no less than 90 % of the speed: {best.limit_w:.0f} W. Nothing was "
        f"changed; to set it until the next boot:\n{commands}"
    )


def _cells(point: Point) -> tuple[str, str, str]:
    power = DASH if point.power_w is None else f"{point.power_w:.0f} W"
    each = DASH if point.j_per_token is None else f"{point.j_per_token:.3g}"
    return format_rate(point.tok_s, ""), power, each


def _figures(point: Point) -> str:
    speed, power, each = _cells(point)
    return f"{speed:>7} tok/s {power:>8} {each:>8} J/token"
