"""From counters and watts to joules. Pure.

The energy of an interval is a counter's difference; without a counter (or when it was reset) the
mean of the two powers × the seconds between; of all devices.

What no sensor sees is not counted: a CPU package's counter knows nothing of DIMMs (where they have
none of their own), fans and the power supply's losses. No sensor, no number.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Hardware

LONGEST_GAP_S = 10.0  # beyond it nobody knows what the power was in between


@dataclass(slots=True)
class Counter:
    """A counter that wraps at `wraps_at`, made one that only grows. Any unit.

    One that falls and has no known end was reset to zero, as a driver does when it is reloaded.
    """

    wraps_at: float | None = None
    total: float = 0.0
    _last: float | None = None

    def add(self, reading: float) -> float:
        if self._last is not None:
            grown = reading - self._last
            if grown < 0:
                grown = reading if self.wraps_at is None else grown + self.wraps_at
            self.total += max(0.0, grown)
        self._last = reading
        return self.total


def interval_j(before: Sample, after: Sample) -> float | None:
    """The energy that a device took between two samples of it."""
    seconds = after.at_s - before.at_s
    if seconds <= 0:
        return None
    if before.energy_j is not None and after.energy_j is not None:
        counted = after.energy_j - before.energy_j
        if counted >= 0:
            return counted
    if before.power_w is None or after.power_w is None or seconds > LONGEST_GAP_S:
        return None
    return (before.power_w + after.power_w) / 2 * seconds


def seen_twice(hardware: Hardware, samples: Iterable[Sample]) -> frozenset[str]:
    """Devices whose watts are in another's: an APU's sensor is the socket's, which the processor's
    own counter has already."""
    has_counter = any(s.device_id == "cpu" and s.energy_j is not None for s in samples)
    if not has_counter:
        return frozenset()
    return frozenset(
        device.id
        for device in hardware.devices
        if device.vendor in ("amd", "intel") and device.pool_id == hardware.host.id
    )


@dataclass(slots=True)
class Meter:
    """All devices' joules, as their samples come in; each device at its own pace."""

    leave_out: frozenset[str] = frozenset()
    _before: dict[str, Sample] = field(default_factory=dict)
    _gathered: dict[str, float] = field(default_factory=dict)  # joules not told yet, by device
    _telling: dict[str, float] = field(default_factory=dict)  # when each told its last ones

    def add(self, samples: Iterable[Sample]) -> float | None:
        """What was taken since the last number, as soon as every device that tells any has told
        again: the slowest sets the pace, so no interval lacks a device. None: not yet, or never."""
        for sample in samples:
            if sample.device_id not in self.leave_out:
                self._take(sample)
        newest_s = max((one.at_s for one in self._before.values()), default=0.0)
        self._telling = {
            id_: at_s for id_, at_s in self._telling.items() if at_s >= newest_s - LONGEST_GAP_S
        }
        if not self._gathered or any(id_ not in self._gathered for id_ in self._telling):
            return None
        told, self._gathered = sum(self._gathered.values()), {}
        return told

    def _take(self, sample: Sample) -> None:
        before = self._before.get(sample.device_id)
        if before is not None and sample.at_s <= before.at_s:
            return  # told already
        self._before[sample.device_id] = sample
        joules = None if before is None else interval_j(before, sample)
        if joules is not None:
            self._gathered[sample.device_id] = self._gathered.get(sample.device_id, 0.0) + joules
            self._telling[sample.device_id] = sample.at_s


def cost(joules: float, price_per_kwh: float) -> float:
    """In the currency of the price; 1 kWh is 3.6 MJ."""
    return joules / 3.6e6 * price_per_kwh
