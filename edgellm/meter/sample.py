"""One device at one moment."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """`at_s` is monotonic seconds: for spacing, not for dates. `None`: no such sensor."""

    device_id: str
    at_s: float
    used_bytes: int | None = None
    total_bytes: int | None = None
    busy_ratio: float | None = None  # 0.0 to 1.0
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    energy_j: float | None = None  # a counter: since whenever it began, may be reset
    clock_hz: float | None = None
    throttle: tuple[str, ...] = ()  # "thermal", "power_brake", "power_cap", "hardware"
    sees_throttle: bool = False  # False: an empty `throttle` means that nobody tells
    hotspot_c: float | None = None  # the hottest place of the chip
    memory_c: float | None = None
    memory_clock_hz: float | None = None
    fan_ratio: float | None = None  # of its full speed
    n_lanes: int | None = None  # of the PCIe link, that run
    n_link_errors: int | None = None  # a counter: corrected and not, since the machine started
