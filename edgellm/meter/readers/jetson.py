"""A Jetson's GPU and board: devfreq for load and clock, INA3221 rails for power, thermal zones.

The power is the whole board's: VDD_IN where that rail is measured, else the sum of those that
are. Where NVML answers (JetPack 6 and later) it has no power and no memory to tell either, so this
sensor speaks for the device alone.
"""

import time
from collections.abc import Sequence

from edgellm.meter.readers.sysfs import number, scaled, text
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Device
from edgellm.probe.sources import Sources

_GPU_NODES = ("17000000.gpu", "gpu-gpc-0", "17000000.ga10b", "17000000.gv11b", "57000000.gpu")
_RAILS = "/sys/bus/i2c/devices/*/hwmon/hwmon*"
_WHOLE = "VDD_IN"


class JetsonSensor:
    name = "jetson"

    def __init__(self, sources: Sources, devices: Sequence[Device]) -> None:
        self._sources = sources
        self._id = devices[0].id
        self._gpu: str | None = None
        self._rails: tuple[tuple[str, str], ...] = ()  # (volts', amperes' file), milli each
        self._zones: dict[str, str] = {}
        self._is_open = False

    def read(self) -> tuple[Sample, ...]:
        if not self._is_open:
            self._open()
        return (
            Sample(
                self._id,
                time.monotonic(),
                busy_ratio=self._told("device/load", 1000),  # per mille
                temperature_c=self._zone_c("gpu-thermal"),
                power_w=self._power_w(),
                clock_hz=self._told("cur_freq", 1),
                hotspot_c=self._zone_c("tj-thermal"),
            ),
        )

    def close(self) -> None:
        pass

    def _open(self) -> None:
        folders = self._sources.list("/sys/class/devfreq/*")
        names = {folder.rpartition("/")[2]: folder for folder in folders}
        self._gpu = next((names[node] for node in _GPU_NODES if node in names), None)
        zones = self._sources.list("/sys/class/thermal/thermal_zone*")
        self._zones = {text(self._sources, f"{z}/type") or "": f"{z}/temp" for z in zones}
        self._rails = tuple(self._find_rails())
        self._is_open = True

    def _find_rails(self) -> list[tuple[str, str]]:
        rails: dict[str, tuple[str, str]] = {}
        for chip in self._sources.list(_RAILS):
            for path in self._sources.list(f"{chip}/in[1-3]_label"):
                channel = path.rpartition("/in")[2].removesuffix("_label")
                label = text(self._sources, path) or "NC"
                if label != "NC":  # not connected
                    rails[label] = (f"{chip}/in{channel}_input", f"{chip}/curr{channel}_input")
        return [rails[_WHOLE]] if _WHOLE in rails else list(rails.values())

    def _power_w(self) -> float | None:
        """mV × mA = µW. One rail that doesn't answer makes the sum unknown."""
        parts = []
        for volts, amperes in self._rails:
            millivolts, milliamperes = (number(self._sources, path) for path in (volts, amperes))
            if millivolts is None or milliamperes is None:
                return None
            parts.append(millivolts * milliamperes / 1e6)
        return sum(parts) if parts else None

    def _told(self, file: str, divisor: float) -> float | None:
        return scaled(self._sources, f"{self._gpu}/{file}", divisor) if self._gpu else None

    def _zone_c(self, kind: str) -> float | None:
        path = self._zones.get(kind)
        return scaled(self._sources, path, 1000) if path else None
