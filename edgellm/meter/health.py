"""Is it as fast as it was said to be, and if not, why. Pure.

A cause that a sensor names goes before one that is inferred; slowness alone is only believed
after the plan's own doubt (its p10) is taken off.
"""

from dataclasses import dataclass
from typing import Literal

from edgellm.units import format_bytes, format_rate

Cause = Literal["lost_device", "cpu_fallback", "thermal", "power_brake", "memory_pressure", "slow"]

_SLOW_RATIO = 0.8  # of the p10: below this it is not the noise of a busy second
_LEAST_FREE_RATIO = 0.03  # of the host's memory; below it pages are being thrown out


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is known of one running model. None: not known, and no reason to worry."""

    expected_tok_s_p10: float | None = None
    measured_tok_s: float | None = None  # None as well when nothing ran
    planned_devices: tuple[str, ...] = ()
    present_devices: tuple[str, ...] = ()  # of those, the ones that still answer
    layers_planned_on_accelerators: int | None = None
    layers_on_accelerators: int | None = None
    throttle: tuple[str, ...] = ()
    host_free_bytes: int | None = None
    host_total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Ok:
    pass


@dataclass(frozen=True, slots=True)
class Degraded:
    cause: Cause
    message: str


Health = Ok | Degraded


def assess(vitals: Vitals) -> Health:
    return (
        _lost_device(vitals)
        or _cpu_fallback(vitals)
        or _throttled(vitals)
        or _memory_pressure(vitals)
        or _slow(vitals)
        or Ok()
    )


def _lost_device(vitals: Vitals) -> Degraded | None:
    lost = [device for device in vitals.planned_devices if device not in vitals.present_devices]
    if not lost:
        return None
    return Degraded("lost_device", f"{', '.join(lost)} no longer answers")


def _cpu_fallback(vitals: Vitals) -> Degraded | None:
    planned, now = vitals.layers_planned_on_accelerators, vitals.layers_on_accelerators
    if planned is None or now is None or now >= planned:
        return None
    return Degraded("cpu_fallback", f"{now} of the {planned} layers planned for the GPU are on it")


def _throttled(vitals: Vitals) -> Degraded | None:
    """A power cap at full load is how cards work; heat and a power brake are not."""
    if not _is_slow(vitals):
        return None
    if "thermal" in vitals.throttle:
        return Degraded("thermal", f"too hot to run at speed: {_rates(vitals)}")
    if "power_brake" in vitals.throttle:
        return Degraded("power_brake", f"the board slows down for lack of power: {_rates(vitals)}")
    return None


def _memory_pressure(vitals: Vitals) -> Degraded | None:
    free, total = vitals.host_free_bytes, vitals.host_total_bytes
    if free is None or not total or free / total >= _LEAST_FREE_RATIO or not _is_slow(vitals):
        return None
    return Degraded(
        "memory_pressure",
        f"only {format_bytes(free)} of {format_bytes(total)} memory is free: {_rates(vitals)}",
    )


def _slow(vitals: Vitals) -> Degraded | None:
    return Degraded("slow", _rates(vitals)) if _is_slow(vitals) else None


def _is_slow(vitals: Vitals) -> bool:
    expected, measured = vitals.expected_tok_s_p10, vitals.measured_tok_s
    return expected is not None and measured is not None and measured < _SLOW_RATIO * expected


def _rates(vitals: Vitals) -> str:
    return (
        f"{format_rate(vitals.measured_tok_s)} measured, "
        f"at least {format_rate(vitals.expected_tok_s_p10)} expected"
    )
