"""What is on no PCI bus: Apple's GPU, Adreno, a Raspberry Pi's alarms."""

import pytest
from probe_fakes import CAPTURES, FakeSources, captured

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.detect import detect
from edgellm.probe.host.host import SYSCTL
from edgellm.probe.sources import Output, Silence, SysrootSources, capture_name
from edgellm.probe.vendors import apple, qualcomm, raspberry
from edgellm.units import MIB

M3 = "hw.memsize: 68719476736\nmachdep.cpu.brand_string: Apple M3 Max\niogpu.wired_limit_mb: {}\n"


def mac(limit, ioreg=""):
    commands = {capture_name(SYSCTL): M3.format(limit), "ioreg -rc AGXAccelerator": ioreg}
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
        ('+-o AGXAcceleratorG15X\n    {\n      "gpu-core-count" = 40\n    }\n', "40 cores"),
        ('  |   "gpu-core-count" = 30\n', "30 cores"),
        ("", None),
        (Output("", "ioreg: error", 1), None),
        (Silence("timeout", "no answer"), None),
    ],
)
def test_how_many_cores_it_has_tells_two_chips_of_one_name_apart(ioreg, cores):
    assert mac(0, ioreg)[0].architecture == cores


def test_an_intel_mac_has_no_gpu_of_apples():
    commands = {capture_name(SYSCTL): "machdep.cpu.brand_string: Intel(R) Core(TM) i7\n"}

    assert apple.read(Evidence(FakeSources(system="Darwin", commands=commands))) == ()
    assert apple.read(Evidence(FakeSources())) == ()


def test_a_phones_adreno_is_named_by_its_kernel_when_it_may():
    files = {"/sys/class/kgsl/kgsl-3d0/gpu_model": "Adreno740v2\n", "/dev/fastrpc-cdsp": ""}
    gpu, npu = qualcomm.read(Evidence(FakeSources(files)))
    hidden = {"/sys/class/kgsl/kgsl-3d0/gpu_model": Silence("denied", "Permission denied")}
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
        (Silence("denied", "Permission denied"), ()),
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
            lambda hardware: [device.architecture for device in hardware.accelerators],
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
