import json

import pynvml
import pytest
from probe_fakes import FakeSources, captured

from edgellm.probe import nvidia, nvml_child
from edgellm.probe.evidence import Evidence
from edgellm.probe.sources import Output, Silence, SystemSources
from edgellm.units import GIB, MIB


def ask(answer):
    evidence = Evidence(FakeSources(commands={"nvml_child": answer}))
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
        (Silence("timeout", "no answer within 10 s"), "no answer within 10 s"),
        ({"cards": [], "error": "Driver/library version mismatch"}, "version mismatch"),
    ],
)
def test_a_child_that_fails_costs_its_cards_and_is_told_of(answer, message):
    cards, faults = ask(answer)

    assert cards == ()
    assert message in faults[0].message


def test_no_driver_is_no_fault():
    assert ask({"cards": [], "error": None}) == ((), ())
    assert ask(Silence("absent", "not there")) == ((), ())


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
