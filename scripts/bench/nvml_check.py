"""Whether our readings of NVIDIA cards agree with nvidia-smi's, and counted with integrated energy.

    python scripts/bench/nvml_check.py [SECONDS] [LOAD COMMAND …]

A quarter of the time the cards rest, then the load is started, and in the last quarter they rest
again. The driver's watts are means of the last second or so: they come late, and the joules that
are missed while a load sets in are made good when it ends. A window that has only one of the two
compares a lag, not a method. (Twice 3 s around the changes are left out of the steady parts.)

While nothing changes, each card's reading has to lie within ours from before and after it. Prints
a table a card, the joules of each part by counter and by watts, and what sampling cost of a core.
Ends with 1 if a reading disagrees, or if the joules of the whole do by more than 3 %.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgellm.meter.energy.joules import Meter
from edgellm.meter.readers.nvidia import NvidiaSensor
from edgellm.meter.sample import Sample
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import Device
from edgellm.probe.pci import normal_address
from edgellm.probe.sources import SystemSources
from edgellm.probe.vendors import nvidia

_FIELDS = (
    "pci.bus_id,memory.used,memory.total,temperature.gpu,power.draw,power.limit,clocks.sm,"
    "clocks.mem"
)
_CHANGE_S = 3  # after a load begins or ends, until driver and card have settled
_MOST_APART_RATIO = 0.03

# What is compared: its name, our value in nvidia-smi's unit, and how far apart two looks may be
# at something that moves: absolutely, and as a ratio.
_COMPARED = (
    ("memory used, MiB", "used_bytes", 2**20, 16.0, 0.01),
    ("memory total, MiB", "total_bytes", 2**20, 1.0, 0.0),
    ("temperature, C", "temperature_c", 1.0, 1.0, 0.0),
    ("power, W", "power_w", 1.0, 3.0, 0.05),
    ("power limit, W", "power_limit_w", 1.0, 0.1, 0.0),
    ("SM clock, MHz", "clock_hz", 1e6, 15.0, 0.03),
    ("memory clock, MHz", "memory_clock_hz", 1e6, 1.0, 0.0),
)


@dataclass
class Joules:
    """Of one part of the time."""

    counted: float = 0.0
    from_watts: float = 0.0

    @property
    def apart_ratio(self) -> float | None:
        return self.from_watts / self.counted - 1 if self.counted else None


@dataclass
class Energy:
    """By part, and of the whole."""

    parts: dict[str, Joules] = field(default_factory=dict)
    _counter: Meter = field(default_factory=Meter)
    _watts: Meter = field(default_factory=Meter)

    def add(self, part: str, samples: Sequence[Sample]) -> None:
        only_watts = [Sample(s.device_id, s.at_s, power_w=s.power_w) for s in samples]
        only_counter = [Sample(s.device_id, s.at_s, energy_j=s.energy_j) for s in samples]
        counted, from_watts = self._counter.add(only_counter), self._watts.add(only_watts)
        for name in ("all of it", part):
            joules = self.parts.setdefault(name, Joules())
            joules.counted += counted or 0.0
            joules.from_watts += from_watts or 0.0


def devices() -> list[Device]:
    cards = nvidia.read(Evidence(SystemSources()))
    return [Device(c.address or c.name, "nvidia", c.name, "cuda", "host") for c in cards]


def nvidia_smi() -> dict[str, list[str]]:
    """PCI address → what it says of the card, in the order of `_COMPARED`."""
    command = ["nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [[cell.strip() for cell in line.split(",")] for line in told.splitlines()]
    return {normal_address(address) or address: cells for address, *cells in rows}


def disagreements(sensor: NvidiaSensor, when: str) -> list[str]:
    before, theirs, after = sensor.read(), nvidia_smi(), sensor.read()
    wrong = []
    for one, other in zip(before, after, strict=True):
        print(f"{one.device_id}, {when}: ours before and after, nvidia-smi's")
        said = theirs.get(one.device_id) or next(iter(theirs.values()))  # a Jetson's is on no bus
        for (name, attribute, unit, apart, ratio), cell in zip(_COMPARED, said, strict=True):
            ours = [None if v is None else v / unit for v in _both(one, other, attribute)]
            agrees = _agrees(ours, cell, apart, ratio)
            shown = " ".join(f"{'-' if v is None else round(v, 1)!s:>10}" for v in ours)
            print(f"  {name:<20} {shown} {cell:>10}{'' if agrees else '   DISAGREES'}")
            wrong += [] if agrees else [f"{one.device_id}: {name}, {when}"]
        print(f"  {other}")
    return wrong


def _both(one: Sample, other: Sample, attribute: str) -> tuple[float | None, float | None]:
    return getattr(one, attribute), getattr(other, attribute)


def _agrees(ours: list[float | None], cell: str, apart: float, ratio: float) -> bool:
    known = [value for value in ours if value is not None]
    try:
        theirs = float(cell)
    except ValueError:  # "[N/A]"
        return not known
    room = max(apart, ratio * abs(theirs))
    return bool(known) and min(known) - room <= theirs <= max(known) + room


def part_of(second: int, seconds: int) -> str:
    begin, end = seconds // 4, seconds * 3 // 4
    if min(abs(second - begin), abs(second - end)) < _CHANGE_S and second not in (begin, end):
        return "around the changes"
    return "under load" if begin < second <= end else "at rest"


def main(seconds: int, load: list[str]) -> int:
    found = devices()
    if not found:
        print("no NVIDIA card answers")
        return 1
    sensor, energy, cpu_s = NvidiaSensor(found), Energy(), 0.0
    working: subprocess.Popen[bytes] | None = None
    wrong: list[str] = []
    begin, end = seconds // 4, seconds * 3 // 4
    start_s = time.monotonic()
    for second in range(seconds + 1):
        began_cpu_s = time.process_time()
        samples = sensor.read()
        cpu_s += time.process_time() - began_cpu_s
        energy.add(part_of(second, seconds), samples)
        if load and second == begin:
            working = subprocess.Popen(load, start_new_session=True)
        if working is not None and second == end:
            wrong += ended_early(working)
        if second in (begin // 2, (begin + end) // 2):
            wrong += disagreements(sensor, "at rest" if second < begin else "under load")
        time.sleep(max(0.0, start_s + second + 1 - time.monotonic()))
    sensor.close()
    wrong += told_energy(energy, seconds)
    print(f"sampling took {100 * cpu_s / seconds:.2f} % of a core, for {len(found)} cards")
    print("FAILED: " + "; ".join(wrong) if wrong else "all agrees")
    return 1 if wrong else 0


def ended_early(working: subprocess.Popen[bytes]) -> list[str]:
    """Ends the load with all that it started; a load that is over by then was none."""
    code = working.poll()
    if code is not None:
        return [f"the load had ended by itself, with {code}"]
    os.killpg(working.pid, signal.SIGKILL)
    working.wait()
    return []


def told_energy(energy: Energy, seconds: int) -> list[str]:
    for name, joules in energy.parts.items():
        ratio = joules.apart_ratio
        words = "no counter" if ratio is None else f"{100 * ratio:+.2f} %"
        print(
            f"{name:<20} {joules.counted:>9.0f} J counted {joules.from_watts:>9.0f} J from watts",
            end="",
        )
        print(f"   {words}")
    ratio = energy.parts["all of it"].apart_ratio
    if ratio is None:
        return [f"no card counted energy in {seconds} s"]
    return [f"energy is {100 * ratio:+.2f} % apart"] if abs(ratio) > _MOST_APART_RATIO else []


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60, sys.argv[2:]))
