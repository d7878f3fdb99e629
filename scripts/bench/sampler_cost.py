"""What sampling costs: eight AMD cards and the host at 1 Hz, read from files as real ones are.

    python scripts/bench/sampler_cost.py [SECONDS]

Prints the share of one core, and how often each sensor was read while another one hung.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from edgellm.meter.readers.amd import AmdSensor
from edgellm.meter.readers.host import HostSensor
from edgellm.meter.sampler import Sampler
from edgellm.probe.hardware import Device
from edgellm.probe.sources import SystemSources

CAPTURE = Path(__file__).parents[2] / "tests/probe/captures/2xmi300x/files"
_N_CARDS = 8


class Hanging:
    """As a driver that is stuck: its first reading never ends."""

    name = "stuck"

    def read(self) -> tuple[()]:
        time.sleep(3600)
        return ()

    def close(self) -> None:
        pass


class Counted:
    def __init__(self, sensor: AmdSensor | HostSensor) -> None:
        self._sensor, self.name, self.n_read = sensor, sensor.name, 0

    def read(self) -> object:
        self.n_read += 1
        return self._sensor.read()

    def close(self) -> None:
        self._sensor.close()


def machine(root: Path) -> tuple[SystemSources, list[Device]]:
    """The captured card, eight times, at addresses of their own."""
    card = CAPTURE / "sys/devices/pci0000:05/0000:05:00.0"
    devices = []
    for n in range(_N_CARDS):
        address = f"0000:{n + 1:02x}:00.0"
        shutil.copytree(card, root / "sys/devices" / address)
        link = root / f"sys/class/drm/card{n}/device"
        link.parent.mkdir(parents=True)
        link.symlink_to(f"../../../devices/{address}")
        bus = root / "sys/bus/pci/devices"
        bus.mkdir(parents=True, exist_ok=True)
        (bus / address).symlink_to(f"../../../devices/{address}")
        devices.append(Device(address, "amd", "MI300X", "rocm", address))
    return SystemSources(root), devices


def main(seconds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sources, devices = machine(Path(folder))
        cards = Counted(AmdSensor(sources, devices))
        host = Counted(HostSensor(SystemSources()))
        sampler = Sampler((Hanging(), cards, host))
        began_s = time.process_time()
        sampler.start()
        time.sleep(seconds)
        used_s = time.process_time() - began_s
        newest = sampler.latest()
        sampler.stop()
    print(f"{100 * used_s / seconds:.2f} % of a core, {len(newest)} devices sampled at 1 Hz")
    print(f"in {seconds} s, beside a sensor that hangs: cards {cards.n_read}, host {host.n_read}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
