"""Intel's GPUs, by the files of xe and i915.

There is no file for power: it is what the energy counter grew by. Load is the time that the GPU
did not idle, between two looks.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgellm.meter.readers import bus
from edgellm.meter.readers.cards import Cards
from edgellm.meter.readers.sysfs import hwmon, labelled, number, scaled, text
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Device
from edgellm.probe.sources import Sources

# Paths below the DRM card's folder, xe's first: where each thing is told
_CLOCKS_MHZ = ("device/tile0/gt0/freq0/act_freq", "gt/gt0/rps_act_freq_mhz", "gt_act_freq_mhz")
_IDLE_MS = ("device/tile0/gt0/gtidle/idle_residency_ms", "gt/gt0/rc6_residency_ms")
_REASONS = (
    ("thermal", ("reason_thermal", "reason_prochot", "reason_ratl", "reason_vr_thermalert")),
    ("power_cap", ("reason_pl1", "reason_pl2")),
    ("power_brake", ("reason_pl4", "reason_vr_tdc")),
)
_THROTTLE = ("device/tile0/gt0/freq0/throttle/", "gt/gt0/throttle_")


@dataclass(frozen=True, slots=True)
class _Before:
    at_s: float
    energy_j: float | None
    idle_s: float | None


class IntelSensor:
    name = "intel"

    def __init__(self, sources: Sources, devices: Sequence[Device]) -> None:
        self._sources = sources
        # An integrated one's counter is the whole processor's, and RAPL has that.
        self._has_energy = {device.id: device.pool_id == device.id for device in devices}
        self._cards = Cards(sources, self._has_energy)
        self._before: dict[str, _Before] = {}

    def read(self) -> tuple[Sample, ...]:
        return self._cards.read(self._sample)

    def close(self) -> None:
        pass

    def _sample(self, device_id: str, card: str) -> Sample:
        at_s, sources = time.monotonic(), self._sources
        chip = hwmon(sources, f"{card}/device") or f"{card}/device/hwmon"
        energy_j = None
        if self._has_energy[device_id]:
            energy_j = scaled(sources, f"{chip}/energy1_input", 1e6)
        now = _Before(at_s, energy_j, self._idle_s(card))
        before = self._before.get(device_id)
        self._before[device_id] = now
        throttle = self._throttle(card)
        clock, link = self._first(card, _CLOCKS_MHZ), bus.link(sources, device_id)
        return Sample(
            device_id,
            at_s,
            busy_ratio=_busy_ratio(before, now),
            temperature_c=self._temperature_c(chip, "pkg", "temp1_input"),
            power_w=_power_w(before, now),
            power_limit_w=scaled(sources, f"{chip}/power1_max", 1e6),
            energy_j=energy_j,
            clock_hz=None if clock is None else clock * 1e6,
            throttle=throttle or (),
            sees_throttle=throttle is not None,
            memory_c=self._temperature_c(chip, "vram"),
            n_lanes=link.n_lanes,
            n_link_errors=link.n_errors,
        )

    def _temperature_c(self, chip: str, label: str, otherwise: str | None = None) -> float | None:
        path = labelled(self._sources, chip, "temp", label)
        if path is None and otherwise is not None:
            path = f"{chip}/{otherwise}"
        return scaled(self._sources, path, 1000) if path else None

    def _idle_s(self, card: str) -> float | None:
        milliseconds = self._first(card, _IDLE_MS)
        return None if milliseconds is None else milliseconds / 1000

    def _first(self, card: str, paths: Sequence[str]) -> int | None:
        values = (number(self._sources, f"{card}/{path}") for path in paths)
        return next((value for value in values if value is not None), None)

    def _throttle(self, card: str) -> tuple[str, ...] | None:
        """None where the driver has no such files."""
        said = {
            name: [
                text(self._sources, f"{card}/{place}{reason}")
                for place in _THROTTLE
                for reason in reasons
            ]
            for name, reasons in _REASONS
        }
        if not any(value in ("0", "1") for values in said.values() for value in values):
            return None
        return tuple(name for name, values in said.items() if "1" in values)


def _busy_ratio(before: _Before | None, now: _Before) -> float | None:
    if before is None or before.idle_s is None or now.idle_s is None:
        return None
    seconds = now.at_s - before.at_s
    return min(1.0, max(0.0, 1 - (now.idle_s - before.idle_s) / seconds)) if seconds > 0 else None


def _power_w(before: _Before | None, now: _Before) -> float | None:
    if before is None or before.energy_j is None or now.energy_j is None:
        return None
    seconds, joules = now.at_s - before.at_s, now.energy_j - before.energy_j
    return joules / seconds if seconds > 0 and joules >= 0 else None
