"""Speed and energy against the power limit: which limits to try, and which is worth having. Pure.

Less power costs less speed than power, down to a point: decoding waits for memory, whose clock a
limit leaves alone. So the least energy a token usually lies well below the maker's limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_N_LIMITS = 6
_WORTH_RATIO = 0.9  # of the fastest: who is asked for less speed than that should be asked first


@dataclass(frozen=True, slots=True)
class Point:
    """All cards together, at `limit_ratio` of their default limits."""

    limit_ratio: float
    limit_w: float
    tok_s: float
    power_w: float | None  # measured mean

    @property
    def j_per_token(self) -> float | None:
        return None if self.power_w is None or self.tok_s <= 0 else self.power_w / self.tok_s


def ratios(least: float, most: float) -> tuple[float, ...]:
    """Of the default limit, from the highest that is allowed down: evenly spaced, with 1.0."""
    if most <= least:
        return (1.0,)
    step = (most - least) / (_N_LIMITS - 1)
    even = {round(most - i * step, 4) for i in range(_N_LIMITS)}
    if least <= 1.0 <= most:
        even -= {one for one in even if abs(one - 1.0) < step / 3}
        even.add(1.0)
    return tuple(sorted(even, reverse=True))


def thriftiest(points: Sequence[Point]) -> Point | None:
    """The least energy a token among those nearly as fast as the fastest. None: nobody saw any."""
    fastest = max((point.tok_s for point in points), default=0.0)
    seen = [
        (point.j_per_token, -point.tok_s, point)
        for point in points
        if point.j_per_token is not None and point.tok_s >= _WORTH_RATIO * fastest
    ]
    return min(seen, key=lambda one: one[:2])[2] if seen else None
