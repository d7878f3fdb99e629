"""AMD cards, by amdgpu's files. A card that sleeps is left asleep and has no numbers."""

import time
from collections.abc import Sequence

from edgellm.meter.sample import Sample
from edgellm.meter.sysfs import number, text
from edgellm.probe.hardware import Device
from edgellm.probe.pci import normal_address
from edgellm.probe.sources import Sources


class AmdSensor:
    name = "amdgpu"

    def __init__(self, sources: Sources, devices: Sequence[Device]) -> None:
        self._sources = sources
        self._ids = {device.id for device in devices}
        self._folders: dict[str, str] | None = None  # device id → its folder

    def read(self) -> tuple[Sample, ...]:
        if self._folders is None:
            self._folders = self._find()
        return tuple(self._sample(id_, folder) for id_, folder in self._folders.items())

    def close(self) -> None:
        pass

    def _find(self) -> dict[str, str]:
        found = {}
        for card in self._sources.list("/sys/class/drm/card[0-9]*"):
            folder = f"{card}/device"
            address = normal_address(self._sources.real_path(folder).rpartition("/")[2])
            if "-" not in card and address in self._ids:
                found[address] = folder
        return found

    def _sample(self, device_id: str, folder: str) -> Sample:
        at_s = time.monotonic()
        if text(self._sources, f"{folder}/power/runtime_status") == "suspended":
            return Sample(device_id, at_s)
        chips = self._sources.list(f"{folder}/hwmon/hwmon*")
        chip = chips[0] if chips else f"{folder}/hwmon"
        total = number(self._sources, f"{folder}/mem_info_vram_total")
        used = number(self._sources, f"{folder}/mem_info_vram_used")
        return Sample(
            device_id,
            at_s,
            used_bytes=used,
            total_bytes=total,
            busy_ratio=self._scaled(f"{folder}/gpu_busy_percent", 100),
            temperature_c=self._scaled(f"{chip}/temp1_input", 1000),
            power_w=self._power_w(chip),
            power_limit_w=self._scaled(f"{chip}/power1_cap", 1e6),
            clock_hz=self._scaled(f"{chip}/freq1_input", 1),
        )

    def _power_w(self, chip: str) -> float | None:
        """Newer kernels and APUs have only one of the two."""
        average = self._scaled(f"{chip}/power1_average", 1e6)
        return average if average is not None else self._scaled(f"{chip}/power1_input", 1e6)

    def _scaled(self, path: str, divisor: float) -> float | None:
        value = number(self._sources, path)
        return None if value is None else value / divisor
