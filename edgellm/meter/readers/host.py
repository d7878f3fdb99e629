"""The CPU and its memory: load, use, temperature, clock, and the package's energy counter; where a
board's firmware tells power and throttling, what it told last."""

import time
from dataclasses import dataclass

import psutil

from edgellm.meter.energy.joules import Counter
from edgellm.meter.readers.raspberry import Board, FirmwareSensor
from edgellm.meter.readers.sysfs import number, text
from edgellm.meter.sample import Sample
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.host import cgroup, host
from edgellm.probe.sources import Sources

# hwmon drivers and thermal zones that speak for the processor, the best first
_HWMON_NAMES = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_ZONE_TYPES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc-thermal", "soc_thermal")
# AMD's too. Of the second level only "dram" is not a part of the package; "psys" is the whole
# board, and never added to its parts.
_RAPL = ("/sys/class/powercap/intel-rapl:[0-9]*", "/sys/class/powercap/intel-rapl:[0-9]*:[0-9]*")
_COUNTED = ("package", "dram")
_THROTTLE_COUNTS = "/sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count"
_CLOCK = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"


@dataclass(slots=True)
class _Package:
    path: str
    counter: Counter  # µJ


class HostSensor:
    name = "host"

    def __init__(self, sources: Sources, firmware: FirmwareSensor | None = None) -> None:
        self._sources, self._firmware = sources, firmware
        self._temperature_path: str | None = None
        self._packages: list[_Package] = []
        self._throttle_counts: tuple[str, ...] = ()
        self._n_throttled: int | None = None
        self._is_open = False
        self._before: tuple[float, float] | None = None  # seconds, joules

    def read(self) -> tuple[Sample, ...]:
        if not self._is_open:
            self._open()
        used, total = self._memory()
        now_s = time.monotonic()
        board = self._firmware.board if self._firmware else Board()
        energy_j, throttle = self._energy_j(), self._throttle(board)
        power_w = self._power_w(now_s, energy_j)
        return (
            Sample(
                device_id="cpu",
                at_s=now_s,
                used_bytes=used,
                total_bytes=total,
                busy_ratio=psutil.cpu_percent(interval=None) / 100,
                temperature_c=self._temperature_c(),
                power_w=board.power_w if power_w is None else power_w,
                energy_j=energy_j,
                clock_hz=self._clock_hz(),
                throttle=throttle or (),
                sees_throttle=throttle is not None,
            ),
        )

    def close(self) -> None:
        pass

    def _open(self) -> None:
        psutil.cpu_percent(interval=None)  # the first answer has nothing to compare with
        self._temperature_path = _temperature_path(self._sources)
        folders = dict.fromkeys(f for pattern in _RAPL for f in self._sources.list(pattern))
        self._packages = [
            _Package(f"{folder}/energy_uj", Counter(number(self._sources, _end(folder))))
            for folder in folders
            if (text(self._sources, f"{folder}/name") or "").startswith(_COUNTED)
            and number(self._sources, f"{folder}/energy_uj") is not None  # root's, mostly
        ]
        # Each of a package's CPUs counts the same events; the first of each would do, and all do.
        self._throttle_counts = self._sources.list(_THROTTLE_COUNTS)
        self._is_open = True

    def _memory(self) -> tuple[int | None, int | None]:
        if self._sources.system != "Linux":
            memory = psutil.virtual_memory()
            return memory.total - memory.available, memory.total
        evidence = Evidence(self._sources)
        pool = host.linux_memory(evidence, cgroup.read(evidence))
        used = None if pool.free_bytes is None else pool.total_bytes - pool.free_bytes
        return used, pool.total_bytes or None

    def _temperature_c(self) -> float | None:
        if self._temperature_path is None:
            return None
        millidegrees = number(self._sources, self._temperature_path)
        return None if millidegrees is None else millidegrees / 1000

    def _energy_j(self) -> float | None:
        """Of all packages; it only grows, the counters' wraps are taken out."""
        if not self._packages:
            return None
        for package in self._packages:
            reading = number(self._sources, package.path)
            if reading is None:
                return None
            package.counter.add(reading)
        return sum(package.counter.total for package in self._packages) / 1e6

    def _power_w(self, now_s: float, energy_j: float | None) -> float | None:
        before, self._before = self._before, None if energy_j is None else (now_s, energy_j)
        if before is None or energy_j is None or now_s <= before[0]:
            return None
        return (energy_j - before[1]) / (now_s - before[0])

    def _throttle(self, board: Board) -> tuple[str, ...] | None:
        counts = [number(self._sources, path) or 0 for path in self._throttle_counts]
        if not counts:
            return board.throttle
        before, self._n_throttled = self._n_throttled, max(counts)
        is_hot = before is not None and self._n_throttled > before
        return ("thermal",) if is_hot else ()

    def _clock_hz(self) -> float | None:
        kilohertz = number(self._sources, _CLOCK)
        return kilohertz * 1000 if kilohertz else None  # a virtual machine's zero is no clock


def _end(folder: str) -> str:
    return f"{folder}/max_energy_range_uj"


def _temperature_path(sources: Sources) -> str | None:
    chips = {text(sources, f"{c}/name"): c for c in sources.list("/sys/class/hwmon/hwmon*")}
    for name in _HWMON_NAMES:
        if name in chips and number(sources, f"{chips[name]}/temp1_input") is not None:
            return f"{chips[name]}/temp1_input"  # the package's, or Tctl
    zones = {text(sources, f"{z}/type"): z for z in sources.list("/sys/class/thermal/*zone*")}
    for kind in _ZONE_TYPES:
        if kind in zones:
            return f"{zones[kind]}/temp"
    return None
