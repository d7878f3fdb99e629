"""Which sensors a machine has: one row a vendor."""

from collections.abc import Callable, Sequence
from functools import partial

from edgellm.meter.readers.amd import AmdSensor
from edgellm.meter.readers.apple import AppleSensor
from edgellm.meter.readers.host import HostSensor
from edgellm.meter.readers.intel import IntelSensor
from edgellm.meter.readers.jetson import JetsonSensor
from edgellm.meter.readers.nvidia import NvidiaSensor
from edgellm.meter.readers.qualcomm import QualcommSensor
from edgellm.meter.readers.raspberry import FirmwareSensor
from edgellm.meter.readers.tool import ToolSensor
from edgellm.meter.sampler import Sampler, Sensor
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import Device, Hardware
from edgellm.probe.sources import Sources, SystemSources
from edgellm.probe.vendors import (
    biren,
    cambricon,
    huawei,
    hygon,
    iluvatar,
    jetson,
    metax,
    moorethreads,
    raspberry,
    thead,
)

_Make = Callable[[Sources, Sequence[Device]], Sensor]


def _nvidia(sources: Sources, devices: Sequence[Device]) -> Sensor:
    return NvidiaSensor(devices)


VENDORS: dict[str, _Make] = {
    "nvidia": _nvidia,
    "amd": AmdSensor,
    "intel": IntelSensor,
    "apple": AppleSensor,
    "qualcomm": QualcommSensor,
    "huawei": partial(ToolSensor, "npu-smi", huawei.readings),
    "moorethreads": partial(ToolSensor, "mthreads-gmi", moorethreads.readings),
    "hygon": partial(ToolSensor, "rocm-smi", hygon.readings),
    "cambricon": partial(ToolSensor, "cnmon", cambricon.readings),
    "iluvatar": partial(ToolSensor, "ixsmi", iluvatar.readings),
    "metax": partial(ToolSensor, "mx-smi", metax.readings),
    "biren": partial(ToolSensor, "brsmi", biren.readings),
    "thead": partial(ToolSensor, "ppu-smi", thead.readings),
}


def sensors_of(hardware: Hardware, sources: Sources | None = None) -> tuple[Sensor, ...]:
    files = sources or SystemSources()
    firmware = FirmwareSensor(files) if raspberry.is_here(Evidence(files)) else None
    sensors: list[Sensor] = [HostSensor(files, firmware), *([firmware] if firmware else [])]
    for vendor, make in VENDORS.items():
        devices = [device for device in hardware.devices if device.vendor == vendor]
        if devices:
            is_jetson = vendor == "nvidia" and jetson.board(Evidence(files)) is not None
            sensors.append((JetsonSensor if is_jetson else make)(files, devices))
    return tuple(sensors)


def sampler_for(hardware: Hardware, sources: Sources | None = None) -> Sampler:
    """Not started yet."""
    return Sampler(sensors_of(hardware, sources))
