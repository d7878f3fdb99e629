"""What the sensors of a captured machine tell."""

from probe_fakes import captured

from edgellm.meter.sensors import sensors_of
from edgellm.probe.detect import detect


def samples(name, vendor):
    """Of the sensor that this vendor's devices have there."""
    machine = captured(name)
    hardware = detect(machine)
    ids = {device.id for device in hardware.devices if device.vendor == vendor}
    read = [sample for sensor in sensors_of(hardware, machine)[1:] for sample in sensor.read()]
    return [sample for sample in read if sample.device_id in ids]
