"""AMD cards and APUs, by amdgpu's files. A card that sleeps is left asleep and has no numbers.

Energy and the reasons of throttling stand in gpu_metrics (`amd_metrics.py`), and so do temperature
and power where there is no hwmon to tell them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgellm.meter.readers import amd_metrics, bus
from edgellm.meter.readers.amd_metrics import Metrics
from edgellm.meter.readers.cards import Cards
from edgellm.meter.readers.sysfs import hwmon, labelled, number, scaled, text
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Device
from edgellm.probe.sources import NoAnswer, Sources


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a card's files are; looked for once, since nothing of it changes while it is there."""

    chip: str
    junction: str | None  # the file of that temperature
    memory: str | None


class AmdSensor:
    name = "amdgpu"

    def __init__(self, sources: Sources, devices: Sequence[Device]) -> None:
        self._sources = sources
        self._cards = Cards(sources, {device.id for device in devices}, below="/device")
        self._places: dict[str, _Place] = {}
        self._before: dict[str, Metrics] = {}

    def read(self) -> tuple[Sample, ...]:
        return self._cards.read(self._sample)

    def close(self) -> None:
        pass

    def _sample(self, device_id: str, folder: str) -> Sample:
        at_s, sources = time.monotonic(), self._sources
        if text(sources, f"{folder}/power/runtime_status") == "suspended":
            return Sample(device_id, at_s)
        place = self._place(device_id, folder)
        chip, link, metrics = place.chip, bus.link(sources, device_id), self._metrics(folder)
        edge_c, junction_c, memory_c = (
            self._celsius(path) for path in (f"{chip}/temp1_input", place.junction, place.memory)
        )
        throttle = self._throttle(device_id, metrics)
        return Sample(
            device_id,
            at_s,
            used_bytes=number(sources, f"{folder}/mem_info_vram_used"),
            total_bytes=number(sources, f"{folder}/mem_info_vram_total"),
            busy_ratio=scaled(sources, f"{folder}/gpu_busy_percent", 100),
            # A data centre's card has only the junction's.
            temperature_c=_first(edge_c, junction_c, metrics.temperature_c),
            power_w=_first(self._power_w(chip), metrics.power_w),
            power_limit_w=scaled(sources, f"{chip}/power1_cap", 1e6),
            energy_j=metrics.energy_j,
            clock_hz=scaled(sources, f"{chip}/freq1_input", 1),
            throttle=throttle or (),
            sees_throttle=throttle is not None,
            hotspot_c=junction_c,
            memory_c=_first(memory_c, metrics.memory_c),
            memory_clock_hz=scaled(sources, f"{chip}/freq2_input", 1),
            fan_ratio=self._fan_ratio(chip),
            n_lanes=link.n_lanes,
            n_link_errors=link.n_errors,
        )

    def _place(self, device_id: str, folder: str) -> _Place:
        if device_id not in self._places:
            chip = hwmon(self._sources, folder) or f"{folder}/hwmon"
            files = (labelled(self._sources, chip, "temp", name) for name in ("junction", "mem"))
            self._places[device_id] = _Place(chip, *files)
        return self._places[device_id]

    def _celsius(self, path: str | None) -> float | None:
        return scaled(self._sources, path, 1000) if path else None

    def _power_w(self, chip: str) -> float | None:
        """Newer kernels and APUs have only one of the two."""
        return _first(
            *(scaled(self._sources, f"{chip}/power1_{kind}", 1e6) for kind in ("average", "input"))
        )

    def _fan_ratio(self, chip: str) -> float | None:
        duty, most = (number(self._sources, f"{chip}/pwm1{end}") for end in ("", "_max"))
        return duty / most if duty is not None and most else None

    def _metrics(self, folder: str) -> Metrics:
        answer = self._sources.read_bytes(f"{folder}/gpu_metrics")
        return Metrics() if isinstance(answer, NoAnswer) else amd_metrics.parse(answer)

    def _throttle(self, device_id: str, now: Metrics) -> tuple[str, ...] | None:
        """What holds it back; where only counters tell, what did since the last look. None: nobody
        tells."""
        before, self._before[device_id] = self._before.get(device_id, now), now
        if now.throttle is None and now.counters:
            return amd_metrics.throttled_since(before, now)
        return now.throttle


def _first(*told: float | None) -> float | None:
    return next((value for value in told if value is not None), None)
