"""What is on no PCI bus: Apple's GPU, Adreno, a Raspberry Pi's alarms."""

import pytest
from probe_fakes import CAPTURES, FakeSources, captured

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.detect import detect
from edgellm.probe.host.host import SYSCTL
from edgellm.probe.known import catalog
from edgellm.probe.sources import NoAnswer, Output, SysrootSources, capture_name
from edgellm.probe.vendors import apple, qualcomm, raspberry
from edgellm.profiles import load_profiles
from edgellm.units import MIB

MAC = "hw.memsize: 68719476736\nmachdep.cpu.brand_string: {}\niogpu.wired_limit_mb: {}\n"


def mac(limit, ioreg="", chip="Apple M3 Max"):
    commands = {capture_name(SYSCTL): MAC.format(chip, limit), "ioreg -rc AGXAccelerator": ioreg}
    evidence = Evidence(FakeSources(system="Darwin", commands=commands))
    return apple.read(evidence)


def test_apples_gpu_shares_the_memory_and_only_a_set_limit_is_known():
    [default] = mac(0)
    [limited] = mac(14000)

    assert (default.name, default.is_unified, default.limit_bytes) == ("Apple M3 Max", True, None)
    assert limited.limit_bytes == 14000 * MIB


@pytest.mark.parametrize(
    ("ioreg", "cores"),
    [
        ('+-o AGXAcceleratorG15X\n    {\n      "gpu-core-count" = 40\n    }\n', 40),
        ('  |   "gpu-core-count" = 30\n', 30),
        ("", None),
        (Output("", "ioreg: error", 1), None),
        (NoAnswer("timeout", "no answer"), None),
    ],
)
def test_how_many_cores_it_has_tells_two_chips_of_one_name_apart(ioreg, cores):
    assert mac(0, ioreg)[0].n_gpu_cores == cores


@pytest.mark.parametrize(
    ("chip", "family"),
    [
        ("Apple M1", "apple7"),
        ("Apple M1 (Virtual)", "apple7"),
        ("Apple M2 Ultra", "apple8"),
        ("Apple M4 Pro", "apple9"),
        ("Apple M5 Max", "apple10"),
        ("Apple M17", None),
    ],
)
def test_a_chips_generation_tells_its_gpus_family(chip, family):
    [card] = mac(0, chip=chip)

    assert (card.name, card.architecture) == (chip, family)


def test_every_chip_of_apples_that_is_described_has_the_family_that_a_real_one_tells():
    rows = [row for row in catalog.load().device if row.vendor == "apple"]
    assert len(rows) > 18
    for row in rows:
        assert mac(0, chip=row.device_name)[0].architecture == row.architecture


class AnotherMac(SysrootSources):
    """The captured one with another chip and another number of GPU cores."""

    def __init__(self, chip, n_cores):
        super().__init__(CAPTURES / "apple-m3-max")
        self._changes = {
            "Apple M3 Max": chip,
            '"gpu-core-count" = 40': f'"gpu-core-count" = {n_cores}',
        }

    def run(self, argv, timeout_s):
        answer = super().run(argv, timeout_s)
        if not isinstance(answer, Output):
            return answer
        text = answer.text
        for old, new in self._changes.items():
            text = text.replace(old, new)
        return Output(text, answer.errors, answer.code)


@pytest.mark.parametrize(
    ("chip", "n_cores", "gb_s", "tflops", "family"),
    [
        ("Apple M3 Max", 40, 400, 14.2, "metal"),
        ("Apple M3 Max", 30, 300, 10.65, "metal"),
        ("Apple M4 Max", 32, 410, 14.72, "metal"),
        ("Apple M1 Max", 24, 400, 7.8, "metal-m1"),
        ("Apple M1", 7, 68, 2.275, "metal-m1"),
        ("Apple M5 Max", 32, 460, 18.24, "metal-m5"),
        ("Apple M5 Max", 40, 614, 22.8, "metal-m5"),
    ],
)
def test_a_real_mac_has_its_own_cores_memory_and_speeds(chip, n_cores, gb_s, tflops, family):
    hardware = detect(AnotherMac(chip, n_cores))
    [gpu] = hardware.accelerators

    assert (gpu.name, gpu.n_gpu_cores) == (chip, n_cores)
    assert hardware.host.bandwidth_bytes_s == gb_s * 1e9
    assert gpu.fp16_flops_s == pytest.approx(tflops * 1e12)
    assert load_profiles().speed.family(gpu).name == family


def test_an_intel_mac_has_no_gpu_of_apples():
    commands = {capture_name(SYSCTL): "machdep.cpu.brand_string: Intel(R) Core(TM) i7\n"}

    assert apple.read(Evidence(FakeSources(system="Darwin", commands=commands))) == ()
    assert apple.read(Evidence(FakeSources())) == ()


def test_a_phones_adreno_is_named_by_its_kernel_when_it_may():
    files = {"/sys/class/kgsl/kgsl-3d0/gpu_model": "Adreno740v2\n", "/dev/fastrpc-cdsp": ""}
    gpu, npu = qualcomm.read(Evidence(FakeSources(files)))
    hidden = {"/sys/class/kgsl/kgsl-3d0/gpu_model": NoAnswer("denied", "Permission denied")}
    evidence = Evidence(FakeSources(hidden))
    [nameless] = qualcomm.read(evidence)

    assert (gpu.name, gpu.is_unified, npu.vendor) == ("Qualcomm Adreno740v2", True, "hexagon")
    assert nameless.name == "Qualcomm Adreno"
    assert evidence.faults[0].message == "Permission denied"


def test_upstreams_msm_driver_names_nothing():
    sources = FakeSources({"/sys/class/drm/card0/device/uevent": ""})
    sources.real_path = lambda path: path.replace("driver", "drivers/msm_dpu")

    assert [card.name for card in qualcomm.read(Evidence(sources))] == ["Qualcomm Adreno"]


def test_a_machine_without_either_has_none():
    assert qualcomm.read(Evidence(captured("rx7800xt"))) == ()


def pi(throttled, model="Raspberry Pi 5 Model B Rev 1.0\x00"):
    evidence = Evidence(
        FakeSources({"/proc/device-tree/model": model}, {"vcgencmd get_throttled": throttled})
    )
    return raspberry.alarms(evidence)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("throttled=0x0\n", ()),
        ("throttled=0x50005\n", ("under-voltage", "throttled")),
        (
            "throttled=0xa0002\n",
            ("its clock is capped", "at its soft temperature limit since it was started"),
        ),
        ("VCHI initialization failed", ()),
        (NoAnswer("denied", "Permission denied"), ()),
    ],
)
def test_a_pis_firmware_tells_what_it_lacked(said, words):
    assert pi(said) == words


def test_other_boards_are_not_asked():
    assert pi("throttled=0x5", model="NVIDIA Jetson") == ()


@pytest.mark.parametrize(
    ("name", "command", "word", "field"),
    [
        (
            "apple-m3-max",
            capture_name(SYSCTL),
            "hw.memsize",
            lambda hardware: hardware.host.total_bytes,
        ),
        (
            "apple-m3-max",
            "vm_stat",
            "Pages inactive",
            lambda hardware: hardware.host.free_bytes,
        ),
        (
            "apple-m3-max",
            "ioreg -rc AGXAccelerator",
            '"gpu-core-count"',
            lambda hardware: [device.n_gpu_cores for device in hardware.accelerators],
        ),
        ("jetson-agx-orin", "nvpmodel -q", "NV Power Mode", lambda hardware: hardware.power_mode),
    ],
)
def test_of_an_answer_that_was_cut_off_no_half_number_is_taken(name, command, word, field):
    """The free pages are a sum, which lacks what was cut off, and no digits of it."""
    machine = captured(name)
    text = machine.run(tuple(command.split()), 1.0).text
    whole = field(detect(machine, measure_bandwidth=False))

    class Cut(SysrootSources):
        def __init__(self, cut):
            super().__init__(CAPTURES / name)
            self._cut = cut

        def run(self, argv, timeout_s):
            is_cut = capture_name(argv) == command
            return Output(text[: self._cut]) if is_cut else super().run(argv, timeout_s)

    start = text.index(word)
    cuts = range(start, text.index("\n", start) + 1)
    said = [field(detect(Cut(cut), measure_bandwidth=False)) for cut in cuts]
    unknown = {"vm_stat": (said[0],)}.get(command, (None, 0, [None], []))
    assert all(one == whole or one in unknown for one in said), said
