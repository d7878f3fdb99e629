"""Which sensors a machine has: one row a vendor."""

from edgellm.meter.amd_sensor import AmdSensor
from edgellm.meter.host_sensor import HostSensor
from edgellm.meter.nvidia_sensor import NvidiaSensor
from edgellm.meter.sampler import Sampler, Sensor
from edgellm.probe.hardware import Hardware
from edgellm.probe.sources import Sources, SystemSources


def sensors_of(hardware: Hardware, sources: Sources | None = None) -> tuple[Sensor, ...]:
    files = sources or SystemSources()
    sensors: list[Sensor] = [HostSensor(files)]
    if nvidia := [device for device in hardware.devices if device.vendor == "nvidia"]:
        sensors.append(NvidiaSensor(nvidia))
    if amd := [device for device in hardware.devices if device.vendor == "amd"]:
        sensors.append(AmdSensor(files, amd))
    return tuple(sensors)


def sampler_for(hardware: Hardware, sources: Sources | None = None) -> Sampler:
    """Not started yet."""
    return Sampler(sensors_of(hardware, sources))
