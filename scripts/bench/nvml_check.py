"""Whether our readings of NVIDIA cards agree with nvidia-smi's, and counted with integrated energy.

    python scripts/bench/nvml_check.py [SECONDS] [LOAD COMMAND …]

The load is started half-way through, so that both a resting and a working card are seen. Prints a
table a card: ours, nvidia-smi's, and the difference; then the joules by the card's counter and by
one power reading a second; then what sampling cost of a core.
"""

import subprocess
import sys
import time

from edgellm.meter.energy import Meter
from edgellm.meter.nvidia_sensor import NvidiaSensor
from edgellm.meter.sample import Sample
from edgellm.probe import nvidia
from edgellm.probe.evidence import Evidence
from edgellm.probe.hardware import Device
from edgellm.probe.sources import SystemSources

_FIELDS = (
    "pci.bus_id,memory.used,memory.total,temperature.gpu,power.draw,power.limit,clocks.sm,"
    "clocks.mem"
)


def devices() -> list[Device]:
    cards = nvidia.read(Evidence(SystemSources()))
    return [Device(c.address or c.name, "nvidia", c.name, "cuda", "host") for c in cards]


def nvidia_smi() -> list[list[str]]:
    command = ["nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [[cell.strip() for cell in line.split(",")] for line in told.splitlines()]


def compare(sample: Sample, theirs: list[str]) -> None:
    ours = (
        ("memory used, MiB", sample.used_bytes and sample.used_bytes / 2**20),
        ("memory total, MiB", sample.total_bytes and sample.total_bytes / 2**20),
        ("temperature, C", sample.temperature_c),
        ("power, W", sample.power_w),
        ("power limit, W", sample.power_limit_w),
        ("SM clock, MHz", sample.clock_hz and sample.clock_hz / 1e6),
        ("memory clock, MHz", sample.memory_clock_hz and sample.memory_clock_hz / 1e6),
    )
    for (name, value), said in zip(ours, theirs[1:], strict=True):
        print(f"  {name:<20} {value if value is None else round(value, 1)!s:>10} {said:>10}")


def main(seconds: int, load: list[str]) -> None:
    found = devices()
    sensor, counted, integrated = NvidiaSensor(found), Meter(), Meter()
    joules, watts, working, cpu_s = 0.0, 0.0, None, 0.0
    for second in range(seconds):
        if load and second == seconds // 2:
            working = subprocess.Popen(load)
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        samples = sensor.read()
        cpu_s += time.process_time() - began_cpu_s
        joules += counted.add(samples) or 0.0
        watts += (
            integrated.add([Sample(s.device_id, s.at_s, power_w=s.power_w) for s in samples]) or 0
        )
        if second in (seconds // 4, seconds * 3 // 4):
            theirs = nvidia_smi()
            for sample, row in zip(samples, theirs, strict=True):
                print(f"{sample.device_id} at second {second}: ours, nvidia-smi's")
                compare(sample, row)
                print(f"  {sample}")
        time.sleep(max(0.0, 1.0 - (time.monotonic() - began_s)))
    if working is not None:
        working.kill()
    sensor.close()
    print(f"energy of {seconds} s: {joules:.0f} J counted, {watts:.0f} J from watts", end="")
    print(f" ({100 * (watts / joules - 1):+.2f} %)" if joules else " (no counter)")
    print(f"sampling took {100 * cpu_s / seconds:.2f} % of a core, for {len(found)} cards")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40, sys.argv[2:])
