"""Ceilings that an operator sets, kept before the hardware throttles by itself: new requests are
slowed as heat or power comes near, and held back at the ceiling. Pure.

    below the margin       nothing
    within the margin      a pause before each new request, the longer the nearer
    at the ceiling         none is let in, until it is below the margin again

Running answers are never touched; with fewer of them the machine cools, and the rails let go.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from edgellm.meter.energy.joules import seen_twice
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Hardware

_MARGIN_C = 5.0
_MARGIN_RATIO = 0.1  # of the power ceiling
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Ceilings:
    """None: no such rail."""

    temperature_c: float | None = None  # of any device, its hottest place not counted
    power_w: float | None = None  # of all devices that tell, together: they share a power supply

    @property
    def is_set(self) -> bool:
        return self.temperature_c is not None or self.power_w is not None


@dataclass(frozen=True, slots=True)
class Admission:
    pause_s: float | None = 0.0  # before the next request; None: hold it
    reason: str | None = None


FREE = Admission()


@dataclass(slots=True)
class Guardrails:
    ceilings: Ceilings
    hardware: Hardware | None = None  # None: every sample is of a board of its own
    _is_holding: bool = False

    def look(self, samples: Iterable[Sample]) -> Admission:
        """What no sensor tells holds nobody up."""
        known = tuple(samples)
        nearest = max(
            (*self._heat(known), *self._power(known)), key=lambda one: one[0], default=(0.0, "")
        )
        closeness, reason = nearest  # 0: at the margin's beginning, 1: at the ceiling
        if closeness >= 1:
            self._is_holding = True
        elif closeness <= 0:
            self._is_holding = False
        if self._is_holding:
            return Admission(None, reason)
        return Admission(closeness * _LONGEST_PAUSE_S, reason) if closeness > 0 else FREE

    def _heat(self, samples: tuple[Sample, ...]) -> Iterable[tuple[float, str]]:
        ceiling_c = self.ceilings.temperature_c
        if ceiling_c is None:
            return
        for sample in samples:
            if sample.temperature_c is not None:
                closeness = 1 + (sample.temperature_c - ceiling_c) / _MARGIN_C
                words = f"{sample.device_id} has {sample.temperature_c:.0f} °C"
                yield closeness, f"{words}, the ceiling is {ceiling_c:.0f} °C"

    def _power(self, samples: tuple[Sample, ...]) -> Iterable[tuple[float, str]]:
        ceiling_w = self.ceilings.power_w
        doubles = seen_twice(self.hardware, samples) if self.hardware else frozenset()
        told = [
            sample.power_w
            for sample in samples
            if sample.power_w is not None and sample.device_id not in doubles
        ]
        if ceiling_w is None or not told:
            return
        closeness = 1 + (sum(told) - ceiling_w) / (_MARGIN_RATIO * ceiling_w)
        yield closeness, f"the boards draw {sum(told):.0f} W, the ceiling is {ceiling_w:.0f} W"
