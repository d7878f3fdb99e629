"""What a sensor says and can't be is unknown. Pure.

A chip that is being reset, or has dropped off its bus, reads ones: 65535 RPM, 511 °C, minus one
watt. Such a number would heat a guard rail, or be paid for as energy.
"""

from dataclasses import replace
from typing import Any

from edgellm.meter.sample import Sample
from edgellm.probe.hardware import MAX_DEVICE_W

_BYTES, _HERTZ, _CELSIUS, _WATTS = (0, 1 << 60), (0, 1e12), (-60, 200), (0, MAX_DEVICE_W)

# The least and the most that is believed; what stands here can't be by far.
BOUNDS: dict[str, tuple[float, float]] = {
    "used_bytes": _BYTES,
    "total_bytes": _BYTES,
    "busy_ratio": (0, 1),
    "temperature_c": _CELSIUS,
    "hotspot_c": _CELSIUS,
    "memory_c": _CELSIUS,
    "power_w": _WATTS,
    "power_limit_w": _WATTS,
    "energy_j": (0, 1e15),
    "clock_hz": _HERTZ,
    "memory_clock_hz": _HERTZ,
    "fan_ratio": (0, 2),
    "n_lanes": (1, 32),
    "n_link_errors": (0, 1 << 63),
}


def plausible(sample: Sample) -> Sample:
    """Without what can't be; the same one where all can."""
    wrong = [
        name
        for name, (least, most) in BOUNDS.items()
        if (value := getattr(sample, name)) is not None and not least <= value <= most
    ]
    unknown: dict[str, Any] = dict.fromkeys(wrong)
    return replace(sample, **unknown) if wrong else sample
