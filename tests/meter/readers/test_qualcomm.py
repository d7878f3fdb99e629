from probe_fakes import FakeSources

from edgellm.meter.readers.qualcomm import QualcommSensor
from edgellm.probe.hardware import Device


def test_an_adreno_under_the_vendors_kernel():
    kgsl = "/sys/class/kgsl/kgsl-3d0"
    files = {f"{kgsl}/gpubusy": " 250 1000", f"{kgsl}/temp": "41000"}
    files |= {f"{kgsl}/devfreq/cur_freq": "680000000"}
    adreno = Device("GPUOpenCL", "qualcomm", "Adreno", "opencl", "host")

    [sample] = QualcommSensor(FakeSources(files), [adreno]).read()
    [hidden] = QualcommSensor(FakeSources(), [adreno]).read()

    assert (sample.busy_ratio, sample.temperature_c, sample.clock_hz) == (0.25, 41.0, 680e6)
    assert (hidden.busy_ratio, hidden.temperature_c, hidden.clock_hz) == (None, None, None)
