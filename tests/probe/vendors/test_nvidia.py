import json

import pynvml
import pytest
from probe_fakes import FakeSources, captured

from edgellm.probe import nvml_child
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.sources import NoAnswer, Output, SystemSources
from edgellm.probe.vendors import jetson, nvidia
from edgellm.units import GIB, MIB


def ask(answer):
    evidence = Evidence(FakeSources({"/dev/nvidiactl": ""}, {"nvml_child": answer}))
    return nvidia.read(evidence), evidence.faults


def test_a_card_tells_its_memory_link_and_architecture():
    [card] = nvidia.read(Evidence(captured("rtx4090")))

    assert card.address == "0000:01:00.0"
    assert card.total_bytes == 24564 * MIB
    assert card.free_bytes == 23880 * MIB
    assert card.architecture == "sm_89"
    assert card.link == "PCIe 4.0 x16"
    assert card.bandwidth_bytes_s == pytest.approx(1008e9, rel=0.001)


@pytest.mark.parametrize(
    ("name", "bits", "mhz", "gb_s"),
    [
        ("RTX 3090, GDDR6X", 384, 9751, 936),
        ("RTX 5090, GDDR7", 512, 14001, 1792),
        ("A100 40GB, HBM2", 5120, 1215, 1555),
        ("GTX 1070, GDDR5", 256, 4004, 256),
    ],
)
def test_bandwidth_is_two_transfers_a_clock_whatever_the_memory(name, bits, mhz, gb_s):
    said = nvidia.NvmlCard(
        index=0, name=name, memory_total_bytes=GIB, memory_bus_bits=bits, memory_clock_mhz=mhz
    )

    assert nvidia.card(said).bandwidth_bytes_s == pytest.approx(gb_s * 1e9, rel=0.005)


@pytest.mark.parametrize("total", [None, 0])
def test_a_board_without_memory_of_its_own_is_unified(total):
    said = nvidia.NvmlCard(index=0, name="NVIDIA GB10", memory_total_bytes=total)

    card = nvidia.card(said)

    assert card.is_unified
    assert card.total_bytes is None


def test_memory_that_may_not_be_read_makes_no_card_unified():
    [card], faults = ask(
        {"cards": [{"index": 0, "name": "H100", "faults": {"memory": "Insufficient Permissions"}}]}
    )

    assert not card.is_unified
    assert card.total_bytes is None
    assert faults[0].message == "memory: Insufficient Permissions"


def test_a_card_cut_into_instances_leaves_its_size_to_llama_cpp():
    [card], _ = ask(
        {"cards": [{"index": 0, "name": "A100", "memory_total_bytes": 40 * GIB, "mig": True}]}
    )

    assert (card.total_bytes, card.is_unified) == (None, False)
    assert card.note is not None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("Segmentation fault", "not understood"),
        ('{"cards": [{"index": 0, "name"', "not understood"),
        ({"cards": "none"}, "not understood"),
        (Output("", "libnvidia-ml: abort\n", -6), "ended with code -6: libnvidia-ml: abort"),
        (NoAnswer("timeout", "no answer within 10 s"), "no answer within 10 s"),
        ({"cards": [], "error": "Driver/library version mismatch"}, "version mismatch"),
    ],
)
def test_a_child_that_fails_costs_its_cards_and_is_told_of(answer, message):
    cards, faults = ask(answer)

    assert cards == ()
    assert message in faults[0].message


def test_no_driver_is_no_fault():
    assert ask({"cards": [], "error": None}) == ((), ())
    assert ask(NoAnswer("absent", "not there")) == ((), ())


def test_the_real_child_answers_on_a_machine_with_or_without_a_driver():
    output = SystemSources().run(nvidia.COMMAND, 20.0)

    assert isinstance(output, Output)
    assert output.code == 0, output.errors
    assert isinstance(json.loads(output.text)["cards"], list)


class FakeNvml:
    """pynvml's names, with its own error classes: the memory isn't supported, the link denied."""

    NVML_CLOCK_MEM = pynvml.NVML_CLOCK_MEM
    NVMLError = pynvml.NVMLError
    NVMLError_NotSupported = pynvml.NVMLError_NotSupported
    NVMLError_FunctionNotFound = pynvml.NVMLError_FunctionNotFound

    def __getattr__(self, name):
        if name.startswith("NVML"):
            raise AttributeError(name)  # a constant that this pynvml lacks

        def call(*_):
            answers = {
                "nvmlDeviceGetHandleByIndex": object(),
                "nvmlDeviceGetName": b"NVIDIA GB10",
                "nvmlDeviceGetCudaComputeCapability": (12, 1),
            }
            if name in answers:
                return answers[name]
            if "Link" in name:
                raise self.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)
            if "MigMode" in name:
                raise self.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
            raise self.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

        return call


def test_each_call_to_nvml_fails_alone():
    said = nvml_child.describe(FakeNvml(), 0)

    assert said["name"] == "NVIDIA GB10"
    assert said["compute_capability"] == (12, 1)
    assert said["memory_total_bytes"] is None
    assert list(said["faults"]) == ["link"]


def board(index, bus, **more):
    return {"index": index, "name": "NVIDIA H100 80GB HBM3", "pci_bus_id": f"00000000:{bus}:00.0",
            "memory_total_bytes": 80 * GIB, **more}  # fmt: skip


def test_cards_on_an_nvswitch_reach_each_other_with_all_their_links():
    switch = ["00000000:C4:00.0"] * 18
    cards, faults = ask(
        {
            "cards": [
                board(i, bus, nvlinks=switch, nvlink_mb_s=26562)
                for i, bus in enumerate(["1B", "43"])
            ],
            "common_ancestors": [{"one": 0, "other": 1, "ancestor": 50}],
        }
    )

    [peer] = cards[0].peers
    assert (peer.address, peer.kind) == ("0000:43:00.0", "nvlink")
    assert peer.bytes_s == pytest.approx(478e9, rel=0.01)
    assert cards[1].peers == ()
    assert faults == ()


def test_a_bridge_between_two_of_three_cards_joins_those_two():
    cards, _ = ask(
        {
            "cards": [
                board(0, "01", nvlinks=["00000000:02:00.0"] * 4, nvlink_mb_s=14062),
                board(1, "02", nvlinks=["00000000:01:00.0"] * 4, nvlink_mb_s=14062),
                board(2, "03"),
            ],
            "common_ancestors": [
                {"one": 0, "other": 1, "ancestor": 30},
                {"one": 0, "other": 2, "ancestor": 20},
                {"one": 1, "other": 2, "ancestor": None},
            ],
        }
    )

    assert [(p.address[5:7], p.kind) for p in cards[0].peers] == [
        ("02", "nvlink"),
        ("03", "switch"),
    ]
    assert cards[0].peers[0].bytes_s == 4 * 14062e6
    assert cards[0].peers[1].bytes_s is None
    assert cards[1].peers == ()


def test_instances_are_named_and_a_virtual_gpu_is_told():
    instances = [{"name": "NVIDIA H100 MIG 3g.40gb"}, {"name": "NVIDIA H100 MIG 1g.10gb"}]
    [cut], _ = ask({"cards": [board(0, "01", mig=True, instances=instances)]})
    [virtual], _ = ask({"cards": [board(0, "01", virtualization=2)]})

    assert "MIG 3g.40gb, NVIDIA H100 MIG 1g.10gb" in cut.note
    assert "virtual GPU" in virtual.note
    assert virtual.total_bytes == 80 * GIB


def test_the_driver_and_the_newest_toolkit_it_runs():
    [card], _ = ask({"cards": [board(0, "01")], "driver": "580.159.04", "cuda_version": 13000})

    assert (card.driver, card.toolkit) == ("580.159.04", "CUDA 13.0")


ORIN = {
    "/proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\x00nvidia,tegra234\x00",
    "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\x00",
}


def test_a_jetson_without_nvml_is_told_by_its_device_tree():
    [card] = nvidia.read(Evidence(FakeSources(ORIN)))

    assert (card.name, card.architecture, card.is_unified) == ("Orin", "sm_87", True)


def test_a_jetson_with_nvml_is_one_card():
    answer = {"cards": [{"index": 0, "name": "Orin (nvgpu)", "pci_bus_id": "00000000:00:00.0"}]}
    [card] = nvidia.read(Evidence(FakeSources(ORIN, {"nvml_child": answer})))

    assert (card.name, card.address, card.is_unified) == ("Orin (nvgpu)", None, True)


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("NV Power Mode: MAXN\n0\n", "MAXN"),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_30W\n2\n", "MODE_30W"),
        ("NV Power Mode:", None),
        ("Permission denied", None),
        (NoAnswer("timeout", "no answer"), None),
    ],
)
def test_a_jetsons_power_mode(said, mode):
    assert jetson.power_mode(Evidence(FakeSources(ORIN, {"nvpmodel -q": said}))) == mode
    assert jetson.power_mode(Evidence(FakeSources({}, {"nvpmodel -q": said}))) is None


ONE_CARD = {"cards": [{"index": 0, "name": "NVIDIA H100"}]}


@pytest.mark.parametrize(
    ("files", "system", "is_asked"),
    [
        ({}, "Linux", False),
        ({"/sys/bus/pci/devices/0000:03:00.0/vendor": "0x1002\n"}, "Linux", False),
        ({"/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n"}, "Linux", True),
        ({"/sys/bus/pci/devices/0000:00:06.0": ""}, "Linux", True),
        ({"/dev/dxg": ""}, "Linux", True),
        ({"/proc/driver/nvidia/version": "NVRM"}, "Linux", True),
        ({"/proc/device-tree/compatible": "nvidia,tegra234\x00"}, "Linux", True),
        ({}, "Windows", True),
        ({}, "Darwin", False),
    ],
)
def test_nvml_is_asked_where_there_is_any_trace_of_a_driver_or_a_card(files, system, is_asked):
    evidence = Evidence(FakeSources(files, {"nvml_child": ONE_CARD}, system))
    nvidia.read(evidence)

    asked = {said.source for said in evidence.answers}
    assert ("nvml_child" in asked) is is_asked


@pytest.mark.parametrize(
    ("files", "timeout_s"),
    [
        ({}, 10.0),
        ({"refcnt": "2", "holders/nvidia_uvm": "", "holders/nvidia_modeset": ""}, 10.0),
        ({"refcnt": "19", "holders/nvidia_uvm": "", "holders/nvidia_modeset": ""}, 3.0),
        ({"refcnt": "rubbish"}, 10.0),
        ({"refcnt": NoAnswer("denied", "Permission denied")}, 10.0),
    ],
)
def test_cards_that_somebody_keeps_awake_are_given_less_time(files, timeout_s):
    allowed_s = []

    class Watched(FakeSources):
        def run(self, argv, timeout_s):
            allowed_s.append(timeout_s)
            return super().run(argv, timeout_s)

    module = {f"/sys/module/nvidia/{path}": text for path, text in files.items()}
    nvidia.read(Evidence(Watched({"/dev/nvidia0": "", **module}, {"nvml_child": ONE_CARD})))

    assert allowed_s == [timeout_s]
