"""The sensors of each vendor over its captured machine, and over what goes wrong with them."""

import struct

import msgspec
import pynvml
import pytest
from probe_fakes import CAPTURES, FakeSources, captured

from edgellm.meter.readers import bus
from edgellm.meter.readers.amd import AmdSensor
from edgellm.meter.readers.apple import MACMON, AppleSensor
from edgellm.meter.readers.host import HostSensor
from edgellm.meter.readers.intel import IntelSensor
from edgellm.meter.readers.jetson import JetsonSensor
from edgellm.meter.readers.qualcomm import QualcommSensor
from edgellm.meter.readers.tool import ToolSensor
from edgellm.meter.sensors import sensors_of
from edgellm.probe.detect import detect
from edgellm.probe.hardware import Device
from edgellm.probe.sources import Output, Silence, capture_name
from edgellm.probe.vendors import huawei
from edgellm.units import MIB

CARD = "/sys/class/drm/card0"
ARC = Device("0000:03:00.0", "intel", "Arc B580", "vulkan", "0000:03:00.0")
IGPU = Device("0000:00:02.0", "intel", "Iris Xe", "vulkan", "host")


def samples(name, vendor):
    """Of the sensor that this vendor's devices have there."""
    machine = captured(name)
    hardware = detect(machine)
    ids = {device.id for device in hardware.devices if device.vendor == vendor}
    read = [sample for sensor in sensors_of(hardware, machine)[1:] for sample in sensor.read()]
    return [sample for sample in read if sample.device_id in ids]


def test_a_data_centres_amd_card_has_a_hotspot_and_a_memory_temperature():
    one, other = samples("2xmi300x", "amd")

    assert (one.device_id, other.device_id) == ("0000:05:00.0", "0000:26:00.0")
    assert (one.temperature_c, one.hotspot_c, one.memory_c) == (41.0, 41.0, 36.0)
    assert (one.power_w, one.power_limit_w, one.n_lanes) == (138.0, 750.0, 16)


def amd(**files):
    device = f"{CARD}/device"
    sources = FakeSources({f"{device}/{path}": said for path, said in files.items()})
    sources.real_path = lambda path: "/sys/devices/0000:03:00.0"
    card = Device("0000:03:00.0", "amd", "RX 7900", "rocm", "0000:03:00.0")
    return AmdSensor(sources, [card]), sources


def metrics(content, residency=0):
    """gpu_metrics 1.6 (a card's), 1.9 (none of ours)."""
    data = bytearray(b"\xff" * 1664)
    struct.pack_into("<HBBHHHH", data, 0, len(data), 1, content, 61, 48, 0xFFFF, 743)
    struct.pack_into("<Q", data, 16, 65536)
    struct.pack_into("<IIIIII", data, 32, 0, 0, 0, residency, 0, 0)
    return bytes(data)


def test_amds_metrics_speak_where_there_is_no_hwmon():
    sensor, sources = amd(gpu_metrics=metrics(6, residency=5))
    [first] = sensor.read()
    sources.files[f"{CARD}/device/gpu_metrics"] = metrics(6, residency=9)
    [second] = sensor.read()
    [third] = sensor.read()

    assert (first.temperature_c, first.memory_c, first.power_w) == (61.0, 48.0, 743.0)
    assert (first.energy_j, first.throttle, first.sees_throttle) == (1.0, (), True)
    assert (second.throttle, third.throttle) == (("thermal",), ())


def test_hwmon_goes_before_amds_metrics():
    chip = "hwmon/hwmon2"
    files = {f"{chip}/temp1_input": "44000", f"{chip}/power1_input": "12000000"}
    [sample] = amd(gpu_metrics=metrics(6), **files)[0].read()

    assert (sample.temperature_c, sample.power_w) == (44.0, 12.0)


@pytest.mark.parametrize("said", [metrics(9), b"rubbish", Silence("denied", "Permission denied")])
def test_metrics_that_are_not_understood_are_no_metrics(said):
    [sample] = amd(gpu_metrics=said)[0].read()

    assert (sample.temperature_c, sample.power_w, sample.energy_j) == (None, None, None)
    assert (sample.throttle, sample.sees_throttle) == ((), False)


def intel(device, **files):
    sources = FakeSources({f"{CARD}/{path}": text for path, text in files.items()})
    sources.real_path = lambda path: f"/sys/devices/{device.id}"
    return IntelSensor(sources, [device]), sources


def test_an_arc_card_is_read_by_its_files():
    [sample] = samples("arc-b580", "intel")

    assert (sample.temperature_c, sample.memory_c) == (48.0, 52.0)
    assert (sample.energy_j, sample.power_w) == (pytest.approx(8123.456789), None)
    assert (sample.power_limit_w, sample.clock_hz) == (190.0, 2850e6)
    assert (sample.throttle, sample.sees_throttle) == ((), True)


def test_intels_power_and_load_are_differences():
    energy, idle = "device/hwmon/hwmon1/energy1_input", "device/tile0/gt0/gtidle/idle_residency_ms"
    sensor, sources = intel(ARC, **{energy: "5000000", idle: "1000"})
    [first] = sensor.read()
    sources.files[f"{CARD}/{energy}"] = "9000000"
    [second] = sensor.read()
    seconds = second.at_s - first.at_s

    assert (first.power_w, first.busy_ratio) == (None, None)
    assert second.power_w == pytest.approx(4.0 / seconds, rel=0.01)
    assert second.busy_ratio == 1.0, "it has not idled since"


def test_an_integrated_gpus_counter_is_the_processors_and_not_told_twice():
    sensor, _ = intel(IGPU, **{"device/hwmon/hwmon1/energy1_input": "5000000"})

    assert sensor.read()[0].energy_j is None


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("device/tile0/gt0/freq0/throttle/reason_thermal", "thermal"),
        ("device/tile0/gt0/freq0/throttle/reason_pl1", "power_cap"),
        ("gt/gt0/throttle_reason_prochot", "thermal"),
        ("gt/gt0/throttle_reason_pl4", "power_brake"),
    ],
)
def test_intels_reasons_of_throttling_under_both_drivers(file, reason):
    device = {"device/vendor": "0x8086"}

    assert intel(ARC, **device, **{file: "1\n"})[0].read()[0].throttle == (reason,)
    assert intel(ARC, **device, **{file: "0\n"})[0].read()[0].throttle == ()


def test_a_jetsons_board_power_is_the_sum_of_its_rails():
    [sample] = samples("jetson-agx-orin", "nvidia")

    watts = (19560 * 262 + 19560 * 40 + 5000 * 800 + 5000 * 120) / 1e6
    assert sample.power_w == pytest.approx(watts)
    assert (sample.busy_ratio, sample.clock_hz) == (0.12, 612e6)
    assert (sample.temperature_c, sample.hotspot_c) == (43.25, 46.5)


def test_a_rail_of_all_that_comes_in_goes_before_the_sum():
    rails = "/sys/bus/i2c/devices/1-0040/hwmon/hwmon3"
    files = {}
    for n, label, millivolts, milliamperes in (
        (1, "VDD_IN", 5000, 2000),
        (2, "VDD_CPU", 5000, 500),
    ):
        files |= {
            f"{rails}/in{n}_label": label,
            f"{rails}/in{n}_input": str(millivolts),
            f"{rails}/curr{n}_input": str(milliamperes),
        }
    orin = Device("CUDA0", "nvidia", "Orin", "cuda", "host")

    assert JetsonSensor(FakeSources(files), [orin]).read()[0].power_w == 10.0
    files[f"{rails}/curr1_input"] = Silence("denied", "Permission denied")
    assert JetsonSensor(FakeSources(files), [orin]).read()[0].power_w is None


def test_a_thor_has_no_load_file():
    [sample] = samples("jetson-agx-thor", "nvidia")

    assert (sample.busy_ratio, sample.clock_hz, sample.power_w) == (None, 1575e6, None)


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


IOREG = '"PerformanceStatistics" = {"Device Utilization %"=37,"In use system memory"=123456789}'
V07 = {
    "temp": {"cpu_temp_avg": 43.7, "gpu_temp_avg": 36.9},
    "gpu_usage": [461, 0.0215],
    "all_power": 0.22,
}
V08 = {**V07, "gpu_freq_mhz": 500, "gpu_active_ratio": 0.09}


@pytest.mark.parametrize(("macmon", "clock_hz"), [(V07, 461e6), (V08, 500e6)])
def test_a_mac_with_macmon_in_two_versions(macmon, clock_hz):
    commands = {"ioreg -rc AGXAccelerator": IOREG, capture_name(MACMON): macmon}
    mac = Device("MTL0", "apple", "Apple M3", "metal", "host")

    [sample] = AppleSensor(FakeSources(commands=commands, system="Darwin"), [mac]).read()

    assert (sample.busy_ratio, sample.used_bytes) == (0.37, 123456789)
    assert (sample.temperature_c, sample.power_w, sample.clock_hz) == (36.9, 0.22, clock_hz)


def test_a_mac_without_macmon_knows_load_and_memory_and_asks_for_it_once():
    asked = []

    class Mac(FakeSources):
        def run(self, argv, timeout_s):
            asked.append(argv[0])
            return super().run(argv, timeout_s)

    sources = Mac(commands={"ioreg -rc AGXAccelerator": IOREG}, system="Darwin")
    sensor = AppleSensor(sources, [Device("MTL0", "apple", "M3", "metal", "host")])
    sensor.read()
    [sample] = sensor.read()

    assert (sample.busy_ratio, sample.used_bytes) == (0.37, 123456789)
    assert (sample.power_w, sample.temperature_c) == (None, None)
    assert asked == ["macmon", "ioreg", "ioreg"]


def test_a_captured_mac_tells_by_both_programs():
    [sample] = samples("apple-m3-max", "apple")
    assert (sample.busy_ratio, sample.used_bytes) == (0.42, 3221225472)
    assert (sample.power_w, sample.temperature_c) == (0.22, 36.9)


def test_an_adreno_under_the_vendors_kernel():
    kgsl = "/sys/class/kgsl/kgsl-3d0"
    files = {f"{kgsl}/gpubusy": " 250 1000", f"{kgsl}/temp": "41000"}
    files |= {f"{kgsl}/devfreq/cur_freq": "680000000"}
    adreno = Device("GPUOpenCL", "qualcomm", "Adreno", "opencl", "host")

    [sample] = QualcommSensor(FakeSources(files), [adreno]).read()
    [hidden] = QualcommSensor(FakeSources(), [adreno]).read()

    assert (sample.busy_ratio, sample.temperature_c, sample.clock_hz) == (0.25, 41.0, 680e6)
    assert (hidden.busy_ratio, hidden.temperature_c, hidden.clock_hz) == (None, None, None)


def test_a_link_counts_its_lanes_and_its_errors():
    folder = "/sys/bus/pci/devices/0000:01:00.0"
    files = {
        f"{folder}/current_link_width": "8",
        f"{folder}/aer_dev_correctable": "RxErr 3\nBadTLP 1\nTOTAL_ERR_COR 4\n",
        f"{folder}/aer_dev_fatal": "TOTAL_ERR_FATAL 1\n",
    }

    assert bus.link(FakeSources(files), "0000:01:00.0") == bus.Link(8, 5)
    assert bus.link(FakeSources(), "0000:01:00.0") == bus.Link(None, None)
    assert bus.link(FakeSources(files), "cpu") == bus.Link(None, None)


def host(**files):
    return FakeSources({"/proc/meminfo": "MemTotal: 8388608 kB\n"} | files)


def test_memorys_own_counter_is_added_and_a_part_of_the_package_is_not():
    rapl = "/sys/class/powercap/intel-rapl"
    sources = host()
    for zone, name in ((":0", "package-0"), (":0:0", "core"), (":0:1", "dram"), (":1", "psys")):
        sources.files |= {f"{rapl}{zone}/name": name, f"{rapl}{zone}/energy_uj": "1000000"}
    sensor = HostSensor(sources)
    sensor.read()
    for zone in (":0", ":0:0", ":0:1", ":1"):
        sources.files[f"{rapl}{zone}/energy_uj"] = "3000000"

    assert sensor.read()[0].energy_j == pytest.approx(4.0), "2 J of the package, 2 J of the DIMMs"


def test_a_processor_that_was_throttled_since_the_last_look():
    count = "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    sources = host(**{count: "7"})
    sensor = HostSensor(sources)
    before, unchanged = sensor.read()[0], sensor.read()[0]
    sources.files[count] = "9"

    assert (before.throttle, unchanged.throttle) == ((), ())
    assert sensor.read()[0].throttle == ("thermal",)


ALL = sorted(place.name for place in CAPTURES.iterdir() if place.is_dir())
SPOIL = {
    "absent": lambda text: Silence("absent", "No such file or directory"),
    "denied": lambda text: Silence("denied", "Permission denied"),
    "timed out": lambda text: Silence("timeout", "no answer"),
    "garbage": lambda text: "\x00garbage|||\n1 2 3",
    "empty": lambda text: "",
}


class Spoilt:
    """A captured machine whose programs, and whose files unless they are spared, go wrong."""

    def __init__(self, name, spoil, *, spares_files=False):
        self._machine, self._spoil, self._spares_files = captured(name), spoil, spares_files
        self.system = self._machine.system
        self.list, self.real_path = self._machine.list, self._machine.real_path

    def read_text(self, path):
        answer = self._machine.read_text(path)
        is_spared = self._spares_files or not isinstance(answer, str)
        return answer if is_spared else self._spoil(answer)

    def read_bytes(self, path):
        if self._spares_files:
            return self._machine.read_bytes(path)
        answer = self.read_text(path)
        return answer.encode() if isinstance(answer, str) else answer

    def run(self, argv, timeout_s):
        answer = self._machine.run(argv, timeout_s)
        spoilt = self._spoil(answer.text) if isinstance(answer, Output) else answer
        return Output(spoilt) if isinstance(spoilt, str) else spoilt


def told_of(hardware, sources):
    """By device: the fields that its sensors tell, save those of the processor's own."""
    told = {}
    for sensor in sensors_of(hardware, sources)[1:]:
        try:
            read = sensor.read()
        except (OSError, pynvml.NVMLError):
            continue  # a tool or a library that tells nothing
        for sample in read:
            known = msgspec.to_builtins(sample)
            device_id = known.pop("device_id")
            told[device_id] = {
                field: value
                for field, value in known.items()
                if field != "at_s" and value not in (None, (), [], False)
            }
    return told


@pytest.mark.parametrize("how", SPOIL)
@pytest.mark.parametrize("name", ALL)
def test_whatever_goes_wrong_no_number_is_made_up(name, how):
    told = told_of(detect(captured(name)), Spoilt(name, SPOIL[how]))

    assert all(fields == {} for fields in told.values())


TOOLS = [
    "apple-m3-max", "ascend-310p", "ascend-910b", "biren-br104", "hygon-k100", "iluvatar-bi-v100",
    "metax-c550", "mlu370-x8", "mtt-s80", "raspberry-pi-5", "thead-ppu",
]  # fmt: skip


def cuts(n_pieces):
    return [lambda text, n=n: text[: len(text) * n // n_pieces] for n in range(n_pieces)]


@pytest.mark.parametrize("name", TOOLS)
def test_half_an_answer_and_foreign_words_tell_what_is_certain_and_no_other_number(name):
    hardware = detect(captured(name))
    whole = told_of(hardware, captured(name))
    translated = str.maketrans("eEé", "ééé")
    for spoil in (*cuts(150), lambda text: text.translate(translated)):
        told = told_of(hardware, Spoilt(name, spoil, spares_files=True))
        for device, fields in told.items():
            assert fields.items() <= whole[device].items(), (device, fields, whole[device])
