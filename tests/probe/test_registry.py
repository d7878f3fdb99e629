import pytest
from probe_fakes import FakeSources, captured

from edgellm.probe import registry
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.sources import NoAnswer, Output, SystemSources


def test_devices_keep_llama_cpps_order_and_its_words():
    told = registry.read(Evidence(captured("rx7800xt")))

    assert [device.name for device in told.devices] == ["ROCm0", "Vulkan0", "CPU"]
    assert [device.backend for device in told.devices] == ["rocm", "vulkan", "cpu"]


def test_features_of_the_build_are_told_apart_by_backend():
    told = registry.read(Evidence(captured("two-uneven-nvidia")))

    assert "AVX2" in told.cpu_features
    assert told.cuda_architectures == (75, 80, 86, 89)


def test_an_rpc_device_is_no_accelerator_of_this_machine():
    device = {
        "name": "RPC0",
        "description": "10.0.0.2:50052",
        "type": "gpu",
        "free_bytes": 1,
        "total_bytes": 1,
        "registry": "RPC",
    }
    answer = {"devices": [device], "registries": ["RPC"]}
    evidence = Evidence(FakeSources(commands={"registry_child": answer}))
    told = registry.read(evidence)

    assert told.accelerators == ()
    assert told.devices[0].backend == "none"
    assert "GGML_RPC" in evidence.faults[0].message


@pytest.mark.parametrize(
    "answer",
    [
        "ggml_cuda_init: found 1 device",
        '{"devices": [',
        {"devices": [{"name": "CUDA0"}]},
        Output("", "GGML_ASSERT failed", -6),
        NoAnswer("timeout", "no answer within 15 s"),
    ],
)
def test_a_list_that_cannot_be_read_is_none_and_a_fault(answer):
    evidence = Evidence(FakeSources(commands={"registry_child": answer}))

    assert registry.read(evidence) is None
    assert evidence.faults[0].source == "registry_child"


@pytest.mark.model
def test_the_installed_llama_cpp_tells_its_devices():
    evidence = Evidence(SystemSources())
    told = registry.read(evidence)

    assert told is not None, evidence.faults
    cpu = next(device for device in told.devices if device.type == "cpu")
    assert cpu.total_bytes > 0
    assert "CPU" in told.registries
    assert told.cpu_features, "the CPU backend says what it was built for"


@pytest.mark.model
def test_no_rpc_backend_is_registered():
    """It executes what the network says; a product build is made without it."""
    told = registry.read(Evidence(SystemSources()))

    assert told is not None
    assert "RPC" not in told.registries
