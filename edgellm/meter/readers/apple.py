"""Apple's GPU: load and memory by ioreg, which is everyone's; power and temperature by macmon, if
it is installed (its JSON of 0.7 and of 0.8). Nothing here needs root.
"""

import re
import time
from collections.abc import Sequence

import msgspec

from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Device
from edgellm.probe.sources import Output, Sources
from edgellm.probe.vendors.apple import IOREG

MACMON = ("macmon", "pipe", "-s", "1", "-i", "500")  # one sample, of half a second

_TIMEOUT_S = 3.0
# Of a line that was cut off the last number may be half of one.
_BUSY = re.compile(r'"Device Utilization %"=(\d+)[,}]')
_MEMORY = re.compile(r'"In use system memory"=(\d+)[,}]')


class _Temperatures(msgspec.Struct):
    gpu_temp_avg: float | None = None


class _Macmon(msgspec.Struct):
    temp: _Temperatures = msgspec.field(default_factory=_Temperatures)
    all_power: float | None = None  # watts of CPU, GPU and neural engine
    gpu_usage: tuple[float, float] | None = None  # MHz, ratio
    gpu_freq_mhz: float | None = None


class AppleSensor:
    name = "apple"
    period_s = 2.0

    def __init__(self, sources: Sources, devices: Sequence[Device]) -> None:
        self._sources = sources
        self._id = devices[0].id
        self._has_macmon = True  # until it is found missing

    def read(self) -> tuple[Sample, ...]:
        said = self._macmon() if self._has_macmon else None
        output = self._sources.run(IOREG, _TIMEOUT_S)
        text = output.text if isinstance(output, Output) else ""
        busy, used = _BUSY.search(text), _MEMORY.search(text)
        clock_mhz = said and (said.gpu_freq_mhz or (said.gpu_usage and said.gpu_usage[0]))
        return (
            Sample(
                self._id,
                time.monotonic(),
                used_bytes=int(used[1]) if used else None,
                busy_ratio=int(busy[1]) / 100 if busy else None,
                temperature_c=said.temp.gpu_temp_avg if said else None,
                power_w=said.all_power if said else None,
                clock_hz=clock_mhz * 1e6 if clock_mhz else None,
            ),
        )

    def close(self) -> None:
        pass

    def _macmon(self) -> _Macmon | None:
        answer = self._sources.run(MACMON, _TIMEOUT_S)
        if not isinstance(answer, Output):
            self._has_macmon = answer.kind != "absent"
            return None
        try:
            return msgspec.json.decode(answer.text.strip().partition("\n")[0], type=_Macmon)
        except (msgspec.DecodeError, UnicodeError):
            return None
