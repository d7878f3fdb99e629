"""What is known of each vendor's devices: a table, from the captured machines.

    python scripts/vendor_table.py [--markdown]

A row a captured machine and vendor; the processor has one where nothing else is. Every value is
one that probe and sensors read off the capture; a dash is what it does not tell. The last column
is how far the values of that capture can be believed (its file `source`): c captured, d documented,
s synthetic.
"""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS)]  # where the captures and NVML's replay live

from nvml_replay import ReplayedNvml  # noqa: E402

from edgellm.meter.readers.nvidia import NvidiaSensor  # noqa: E402
from edgellm.meter.sample import Sample  # noqa: E402
from edgellm.meter.sampler import Sensor  # noqa: E402
from edgellm.meter.sensors import sensors_of  # noqa: E402
from edgellm.probe.detect import detect  # noqa: E402
from edgellm.probe.hardware import Device, Hardware  # noqa: E402
from edgellm.probe.sources import SysrootSources  # noqa: E402
from edgellm.units import DASH, format_bytes  # noqa: E402

CAPTURES = TESTS / "probe" / "captures"
HEADINGS = (
    "vendor", "detected", "backend", "memory", "temperature", "power", "energy", "throttle", "from",
)  # fmt: skip


def rows() -> list[tuple[str, ...]]:
    found = []
    for place in sorted(path for path in CAPTURES.iterdir() if path.is_dir()):
        sources = SysrootSources(place)
        hardware = detect(sources)
        samples = _samples(place, hardware, sources)
        seen = set()
        for device in hardware.devices:
            key = (device.vendor, device.name)
            if (device.vendor != "cpu" or len(hardware.devices) == 1) and key not in seen:
                seen.add(key)
                found.append(_row(place, hardware, device, samples.get(device.id)))
    return sorted(found)


def _samples(place: Path, hardware: Hardware, sources: SysrootSources) -> dict[str, Sample]:
    found: dict[str, Sample] = {}
    for sensor in reversed(sensors_of(hardware, sources)):  # the host's takes what others told
        one = _replayed(place, sensor, hardware)
        if one is not None:
            found |= {sample.device_id: sample for sample in one.read()}
    return found


def _replayed(place: Path, sensor: Sensor, hardware: Hardware) -> Sensor | None:
    """NVML is a library and no file: it speaks where its answers were written down."""
    if sensor.name != "nvml":
        return sensor
    told = place / "nvml.json"
    if not told.exists():
        return None
    devices = [device for device in hardware.devices if device.vendor == "nvidia"]
    return NvidiaSensor(devices, ReplayedNvml(told))


def _row(place: Path, hardware: Hardware, device: Device, sample: Sample | None) -> tuple[str, ...]:
    pool = hardware.pool(device.pool_id)
    has_memory = device.pool_id == device.id or device.backend != "none"
    now = sample or Sample(device.id, 0.0)
    limit = f" of {now.power_limit_w:.0f}" if now.power_limit_w is not None else ""
    shared = " shared" if pool.kind == "unified" else ""
    hottest = [now.hotspot_c, now.memory_c]
    more = "".join(f"/{value:.0f}" for value in hottest if value is not None)
    return (
        device.vendor,
        device.name,
        device.backend,
        f"{format_bytes(pool.total_bytes)}{shared}" if has_memory else DASH,
        DASH if now.temperature_c is None else f"{now.temperature_c:.0f}{more} °C",
        DASH if now.power_w is None else f"{_watts(now.power_w)}{limit} W",
        DASH if now.energy_j is None else f"{now.energy_j:.0f} J",
        ", ".join(now.throttle) or ("none" if now.sees_throttle else DASH),
        _labels(place),
    )


def _watts(watts: float) -> str:
    return f"{watts:.0f}" if watts >= 1 else f"{watts:.1g}"


def _labels(place: Path) -> str:
    lines = (place / "source").read_text().splitlines()
    return "".join(sorted({line[0] for line in lines}))


def main(as_markdown: bool) -> None:
    table = [HEADINGS, *rows()]
    if as_markdown:
        print("\n".join(markdown(table)))
        return
    widths = [max(len(row[i]) for row in table) for i in range(len(HEADINGS))]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def markdown(table: list[tuple[str, ...]]) -> list[str]:
    head, *body = (f"| {' | '.join(row)} |" for row in table)
    return [head, "|" + "---|" * len(table[0]), *body]


if __name__ == "__main__":
    main("--markdown" in sys.argv[1:])
