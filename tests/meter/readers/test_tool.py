import pytest
from meter_samples import samples
from probe_fakes import FakeSources, captured

from edgellm.meter.readers.tool import ToolSensor
from edgellm.meter.sensors import sensors_of
from edgellm.probe.detect import detect
from edgellm.probe.sources import Output
from edgellm.probe.vendors import huawei
from edgellm.units import MIB


@pytest.mark.parametrize(
    ("name", "vendor", "memory", "temperature_c", "power_w", "limit_w"),
    [
        ("ascend-910b", "huawei", (3396, 65536), 54, 94.7, None),
        ("ascend-310p", "huawei", (1448, 44278), 49, None, None),
        ("mtt-s80", "moorethreads", (2, 16384), 49, None, None),
        ("hygon-k100", "hygon", (2, 65520), 41, 80, None),
        ("mlu370-x8", "cambricon", (0, 23374), 32, 106, 250),
        ("iluvatar-bi-v100", "iluvatar", (513, 32768), 31, 54, 250),
        ("metax-c550", "metax", (858, 65536), 29, 53, 450),
        ("biren-br104", "biren", (512, 32256), None, None, None),
        ("thead-ppu", "thead", (2, 97920), 29, 58, None),
    ],
)
def test_a_tools_answer_is_a_sample(name, vendor, memory, temperature_c, power_w, limit_w):
    hardware = detect(captured(name))
    ids = [device.id for device in hardware.devices if device.vendor == vendor]
    read = samples(name, vendor)

    assert [sample.device_id for sample in read] == ids
    first = read[0]
    assert (first.used_bytes, first.total_bytes) == tuple(n * MIB for n in memory)
    assert (first.temperature_c, first.power_w, first.power_limit_w) == (
        temperature_c,
        power_w,
        limit_w,
    )
    assert first.energy_j is None


def test_a_tool_that_tells_of_no_device_is_an_error_with_its_words():
    sources = FakeSources(commands={"npu-smi info": Output("", "dcmi init failed\n", 1)})
    sensor = ToolSensor("npu-smi", huawei.readings, sources, [])

    with pytest.raises(OSError, match="dcmi init failed"):
        sensor.read()


def test_a_card_whose_tool_is_not_installed_has_no_numbers():
    sensor = ToolSensor("npu-smi", huawei.readings, FakeSources(), [])

    assert sensor.read() == ()


def test_tools_are_asked_more_seldom_than_files():
    machine = captured("ascend-910b")
    host, tool = sensors_of(detect(machine), machine)

    assert (tool.name, tool.period_s) == ("npu-smi", 5.0)
    assert not hasattr(host, "period_s")
