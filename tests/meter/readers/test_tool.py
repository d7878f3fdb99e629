from itertools import chain, repeat

import pytest
from meter_samples import samples
from probe_fakes import FakeSources, captured

from edgellm.meter.readers.tool import ToolSensor
from edgellm.meter.sensors import sensors_of
from edgellm.probe.detect import detect
from edgellm.probe.hardware import Device
from edgellm.probe.sources import NoAnswer, Output
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


ONE, TWO = "0000:01:00.0", "0000:c1:00.0"
REFUSES = Output("", "dcmi module initialize failed. ret is -8005\n", 1)
HANGS = NoAnswer("timeout", "npu-smi gave no answer within 4 s")
ABSENT = NoAnswer("absent", "No such file or directory")


def table(*addresses):
    """npu-smi's, as of 24.1: two lines a chip."""
    return "".join(
        f"| {n} 910B3 | OK | 95.0 50 0 / 0 |\n| 0 | {address} | 0 0 / 0 3400 / 65536 |\n"
        for n, address in enumerate(addresses)
    )


class Npus(FakeSources):
    """Two of them; `says` is what npu-smi answers to its coming calls, the last word for ever. It
    takes a second each time."""

    def __init__(self, *says):
        on_bus = {f"/sys/bus/pci/devices/{id_}/current_link_width": "16" for id_ in (ONE, TWO)}
        super().__init__(on_bus)
        self.n_asked = 0
        self._says = chain(says, repeat(says[-1]))

    def run(self, argv, timeout_s):
        if argv != huawei.TABLE:  # the order of the chips, which nobody tells here
            return Output("")
        self.n_asked += 1
        said = next(self._says)
        return Output(said) if isinstance(said, str) else said


def sensor_of(sources):
    npus = [Device(id_, "huawei", "Ascend910B3", "cann", id_) for id_ in (ONE, TWO)]
    return ToolSensor("npu-smi", huawei.readings, sources, npus, lambda: float(sources.n_asked))


def powers(sensor):
    return {sample.device_id: sample.power_w for sample in sensor.read()}


BOTH = {ONE: 95.0, TWO: 95.0}


def test_a_card_that_the_answers_of_two_seconds_do_not_name_is_left_out():
    sensor = sensor_of(Npus(table(ONE, TWO), table(TWO)))
    assert powers(sensor) == BOTH
    assert not sensor.is_in_doubt

    assert powers(sensor) == BOTH
    assert sensor.is_in_doubt, "it is asked again soon"
    assert powers(sensor) == {TWO: 95.0}


def test_one_that_is_gone_is_asked_for_in_haste_for_a_while_and_then_at_the_usual_pace():
    sensor = sensor_of(Npus(table(ONE, TWO), table(TWO)))
    hurried = []
    for _ in range(9):
        sensor.read()
        hurried.append(sensor.is_in_doubt)

    assert hurried == [False, *[True] * 5, *[False] * 3]


def test_a_tool_that_goes_on_refusing_has_lost_all_its_cards_and_then_says_why():
    sensor = sensor_of(Npus(table(ONE, TWO), REFUSES))
    told = [powers(sensor) for _ in range(7)]

    assert told == [BOTH, BOTH, *[{}] * 5]
    with pytest.raises(OSError, match="dcmi module initialize failed"):
        sensor.read()


@pytest.mark.parametrize("slip", [REFUSES, table(TWO), "", "half a tab"])
def test_one_wrong_answer_is_a_slip(slip):
    sensor = sensor_of(Npus(table(ONE, TWO), slip, table(ONE, TWO)))

    assert [powers(sensor) for _ in range(3)] == [BOTH] * 3
    assert not sensor.is_in_doubt


@pytest.mark.parametrize("silence", [HANGS, ABSENT, NoAnswer("denied", "Permission denied")])
@pytest.mark.parametrize("before", [(), (REFUSES,), (table(TWO),)])
def test_a_tool_that_gives_no_answer_costs_numbers_and_no_card(silence, before):
    """It is slow, or it is being replaced."""
    sensor = sensor_of(Npus(table(ONE, TWO), *before, silence))
    for _ in range(1 + len(before)):
        sensor.read()

    for _ in range(50):
        assert powers(sensor) == {ONE: None, TWO: None}


def test_one_that_hangs_is_asked_more_and_more_seldom_and_heard_when_it_answers():
    sources = Npus(table(ONE, TWO), *[HANGS] * 4, table(ONE, TWO))
    sensor = sensor_of(sources)
    told = [powers(sensor)[ONE] for _ in range(20)]

    assert told == [95.0, *[None] * 15, *[95.0] * 4]
    assert sources.n_asked == 1 + 4 + 4


def test_a_card_that_has_dropped_off_its_bus_is_left_out_whatever_the_tool_does():
    sources = Npus(table(ONE, TWO), HANGS)
    sensor = sensor_of(sources)
    sensor.read()
    assert sources.n_asked == 1
    sources.files[f"/sys/bus/pci/devices/{ONE}/current_link_width"] = "63"

    assert powers(sensor) == {TWO: 95.0}
    assert sources.n_asked == 1, "nobody waits for a tool that hangs over it"
    assert powers(sensor) == {TWO: None}


def test_a_card_that_is_back_on_its_bus_is_told_of_again():
    sources = Npus(table(ONE, TWO))
    sensor = sensor_of(sources)
    sensor.read()
    there = dict(sources.files)
    sources.files.pop(f"/sys/bus/pci/devices/{ONE}/current_link_width")
    assert powers(sensor) == {TWO: 95.0}
    assert powers(sensor) == {TWO: 95.0}
    sources.files |= there

    assert powers(sensor) == BOTH
