"""Devices whose vendor has a tool and no library: the probe's parser, asked again and again.

Such a tool takes about a second and starts a process each time, so it is asked every five.
"""

import time
from collections.abc import Callable, Sequence

from edgellm.meter.sample import Sample
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import Device
from edgellm.probe.sources import Sources
from edgellm.probe.vendors.readings import Reading


class ToolSensor:
    period_s = 5.0

    def __init__(
        self,
        name: str,
        ask: Callable[[Evidence], tuple[Reading, ...]],
        sources: Sources,
        devices: Sequence[Device],
    ) -> None:
        self.name = name
        self._ask, self._sources = ask, sources
        self._ids = [device.id for device in devices]

    def read(self) -> tuple[Sample, ...]:
        """Nothing where the tool is not installed. Raises OSError with its own words when it tells
        of no device."""
        evidence = Evidence(self._sources)
        readings = self._ask(evidence)
        if not readings and evidence.faults:
            raise OSError("; ".join(fault.message for fault in evidence.faults))
        at_s = time.monotonic()
        return tuple(
            _sample(device_id, at_s, reading)
            for device_id, reading in zip(self._matched(readings), readings, strict=True)
            if device_id is not None
        )

    def close(self) -> None:
        pass

    def _matched(self, readings: Sequence[Reading]) -> list[str | None]:
        """By address; chips that share one, and cards that tell none, in the order of the probe,
        which was that of the same tool."""
        left = list(self._ids)
        found: list[str | None] = []
        for reading in readings:
            exact = [id_ for id_ in left if id_.partition("/")[0] == reading.address]
            chosen = exact[0] if exact else None
            if chosen is None and reading.address is None and len(readings) == len(self._ids):
                chosen = left[0]
            if chosen is not None:
                left.remove(chosen)
            found.append(chosen)
        return found


def _sample(device_id: str, at_s: float, said: Reading) -> Sample:
    return Sample(
        device_id,
        at_s,
        used_bytes=said.used_bytes,
        total_bytes=said.total_bytes,
        busy_ratio=said.busy_ratio,
        temperature_c=said.temperature_c,
        power_w=said.power_w,
        power_limit_w=said.power_limit_w,
        clock_hz=said.clock_hz,
        memory_c=said.memory_temperature_c,
    )
