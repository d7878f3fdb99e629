"""What is tried: a candidate in a context, placed, which fits and does, or misses by something."""

from typing import Literal

from edgellm.selector.memory.shares import Ways
from edgellm.selector.placing.devices import DeviceSet
from edgellm.selector.placing.machine import Shortfall
from edgellm.selector.plan import Candidate, Placement, Range
from edgellm.selector.search.limited import Barred
from edgellm.selector.search.ranking import Merit, Pace
from edgellm.selector.search.settings import Setting
from edgellm.values import frozen


@frozen
class Option:
    """A candidate in a context, placed: it fits."""

    candidate: Candidate
    setting: Setting
    devices: DeviceSet  # that were offered; the placement may have left some out
    placement: Placement
    ways: Ways
    merit: Merit

    @property
    def pace(self) -> Pace:
        return self.merit.pace

    @property
    def kld(self) -> float:
        return self.merit.kld


@frozen
class Unmet:
    """It fits, and misses what was asked for by `flag`. `ratio`: how much of it is reached."""

    flag: Literal["--min-tok-s", "--max-watts"]
    sentence: str
    ratio: float
    decode_tok_s: Range


@frozen
class Miss:
    """A candidate in a context that can't be, by the placement that came nearest."""

    candidate: Candidate
    setting: Setting
    why: Shortfall | Unmet | Barred

    @property
    def decode_tok_s(self) -> Range | None:
        """Of what fits."""
        return self.why.decode_tok_s if isinstance(self.why, Unmet) else None

    @property
    def distance(self) -> tuple[int, float]:
        """Smaller is nearer: what fits and is too slow comes before what doesn't fit, and that
        before what can't run."""
        match self.why:
            case Unmet(ratio=ratio):
                return (0, -ratio)
            case Shortfall():
                return (1, float(self.why.missing_bytes))
            case Barred():
                return (2, 0.0)
