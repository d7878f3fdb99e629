"""AMD cards and APUs, by amdgpu's files. A card that sleeps is left asleep and has no numbers.

Energy and the reasons of throttling stand in gpu_metrics, a struct of the kernel's
(drivers/gpu/drm/amd/include/kgd_pp_interface.h). Its versions 1.1 to 1.4 are those of cards; others
are laid out differently and left alone.
"""

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgellm.meter import bus
from edgellm.meter.sample import Sample
from edgellm.meter.sysfs import card_folders, hwmon, labelled, number, scaled, text
from edgellm.probe.hardware import Device
from edgellm.probe.sources import Silence, Sources

_HEAD = struct.Struct("<HBB")  # size, format, content
_ENERGY = struct.Struct("<Q")
_ENERGY_AT, _THROTTLE_AT = 24, 112  # the second only in 1.3
_ENERGY_J = 2.0**-16  # a tick: 15.259 µJ
_UNKNOWN = (1 << 64) - 1
# indep_throttle_status, SMU_THROTTLER_* in amdgpu_smu.h: power and current limits, which are how
# cards work at full load, then temperatures and the hot signals of regulators
_POWER_CAP, _THERMAL = range(0, 24), range(32, 48)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a card's files are; looked for once, since nothing of it changes while it is there."""

    chip: str
    junction: str | None  # the file of that temperature
    memory: str | None


@dataclass(frozen=True, slots=True)
class _Metrics:
    energy_j: float | None = None
    throttle: tuple[str, ...] | None = None  # None: this version does not tell


class AmdSensor:
    name = "amdgpu"

    def __init__(self, sources: Sources, devices: Sequence[Device]) -> None:
        self._sources = sources
        self._ids = {device.id for device in devices}
        self._folders: dict[str, str] | None = None  # device id → its folder
        self._places: dict[str, _Place] = {}

    def read(self) -> tuple[Sample, ...]:
        if self._folders is None:
            cards = card_folders(self._sources, self._ids)
            self._folders = {id_: f"{card}/device" for id_, card in cards.items()}
        return tuple(self._sample(id_, folder) for id_, folder in self._folders.items())

    def close(self) -> None:
        pass

    def _sample(self, device_id: str, folder: str) -> Sample:
        at_s, sources = time.monotonic(), self._sources
        if text(sources, f"{folder}/power/runtime_status") == "suspended":
            return Sample(device_id, at_s)
        place = self._place(device_id, folder)
        chip, junction_c = place.chip, self._celsius(place.junction)
        edge_c = self._celsius(f"{chip}/temp1_input")
        metrics, link = self._metrics(folder), bus.link(sources, device_id)
        return Sample(
            device_id,
            at_s,
            used_bytes=number(sources, f"{folder}/mem_info_vram_used"),
            total_bytes=number(sources, f"{folder}/mem_info_vram_total"),
            busy_ratio=scaled(sources, f"{folder}/gpu_busy_percent", 100),
            # A data centre's card has only the junction's.
            temperature_c=edge_c if edge_c is not None else junction_c,
            power_w=self._power_w(chip),
            power_limit_w=scaled(sources, f"{chip}/power1_cap", 1e6),
            energy_j=metrics.energy_j,
            clock_hz=scaled(sources, f"{chip}/freq1_input", 1),
            throttle=metrics.throttle or (),
            sees_throttle=metrics.throttle is not None,
            hotspot_c=junction_c,
            memory_c=self._celsius(place.memory),
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
        average = scaled(self._sources, f"{chip}/power1_average", 1e6)
        return (
            average if average is not None else scaled(self._sources, f"{chip}/power1_input", 1e6)
        )

    def _fan_ratio(self, chip: str) -> float | None:
        duty, most = (number(self._sources, f"{chip}/pwm1{end}") for end in ("", "_max"))
        return duty / most if duty is not None and most else None

    def _metrics(self, folder: str) -> _Metrics:
        answer = self._sources.read_bytes(f"{folder}/gpu_metrics")
        return _Metrics() if isinstance(answer, Silence) else parse_metrics(answer)


def parse_metrics(data: bytes) -> _Metrics:
    if len(data) < _ENERGY_AT + _ENERGY.size:
        return _Metrics()
    size, layout, content = _HEAD.unpack_from(data)
    if layout != 1 or content not in (1, 2, 3, 4) or size != len(data):
        return _Metrics()
    (ticks,) = _ENERGY.unpack_from(data, _ENERGY_AT)
    bits = _UNKNOWN
    if content == 3 and len(data) >= _THROTTLE_AT + _ENERGY.size:
        (bits,) = _ENERGY.unpack_from(data, _THROTTLE_AT)
    return _Metrics(
        None if ticks in (0, _UNKNOWN) else ticks * _ENERGY_J,
        None if bits == _UNKNOWN else _reasons(bits),
    )


def _reasons(bits: int) -> tuple[str, ...]:
    names = (("thermal", _THERMAL), ("power_cap", _POWER_CAP))
    return tuple(name for name, places in names if any(bits >> place & 1 for place in places))
