"""An Adreno under the vendor's kernel (kgsl); the upstream driver has no such files."""

import time
from collections.abc import Sequence

from edgellm.meter.readers.sysfs import number, scaled, text
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Device
from edgellm.probe.sources import Sources
from edgellm.probe.vendors.qualcomm import KGSL


class QualcommSensor:
    name = "kgsl"

    def __init__(self, sources: Sources, devices: Sequence[Device]) -> None:
        self._sources = sources
        self._id = devices[0].id

    def read(self) -> tuple[Sample, ...]:
        clock = number(self._sources, f"{KGSL}/devfreq/cur_freq")
        return (
            Sample(
                self._id,
                time.monotonic(),
                busy_ratio=self._busy_ratio(),
                temperature_c=scaled(self._sources, f"{KGSL}/temp", 1000),
                clock_hz=float(clock) if clock else None,
            ),
        )

    def close(self) -> None:
        pass

    def _busy_ratio(self) -> float | None:
        """ "1234 5678": time busy and time in all of the last window; "0 0" while it is off."""
        words = (text(self._sources, f"{KGSL}/gpubusy") or "").split()
        if len(words) != 2 or not all(word.isdecimal() for word in words):
            return None
        busy, total = map(int, words)
        return busy / total if total else 0.0
