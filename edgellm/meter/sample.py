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
    energy_j: float | None = None  # a counter: since whenever it began, may wrap
    clock_hz: float | None = None
    throttle: tuple[str, ...] = ()  # "thermal", "power", ...
