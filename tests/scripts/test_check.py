from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool
from edgellm.runner.selftest import DeviceCheck
from scripts.setup.check import report

HOST = Device("cpu", "cpu", "AMD EPYC", "cpu", "host", ggml_name="CPU")
CARD = Device("0000:01:00.0", "nvidia", "RTX 3090", "cuda", "host", ggml_name="CUDA0")
OLD = Device("0000:02:00.0", "nvidia", "GTX 1070", "none", "host", note="too old; get one: …")
ON_CPU = DeviceCheck(HOST, text=" there was")


def hardware(*devices, registries=("CPU",)):
    return Hardware(
        devices=(*devices, HOST),
        pools=(MemoryPool("host", "host", 2**30, None),),
        cpu=Cpu("AMD EPYC", 2, 2, ()),
        ggml_registries=registries,
    )


def test_each_device_that_decoded_has_a_line():
    said = report(hardware(CARD), (ON_CPU, DeviceCheck(CARD, text=" there was", agrees=True)))
    assert said.problem is None
    assert said.warnings == ()
    assert said.lines == (
        "decoded on AMD EPYC: “…there was”",
        "decoded on RTX 3090 (CUDA0): “…there was”",
    )


def test_a_card_that_this_build_can_not_run_is_named_with_the_fix():
    said = report(hardware(OLD), (ON_CPU,))
    assert said.warnings == ("GTX 1070 is not used: too old; get one: …",)


def test_a_card_that_fails_to_decode_is_named_with_its_fault():
    said = report(hardware(CARD), (ON_CPU, DeviceCheck(CARD, fault="SIGABRT: no kernel image")))
    assert "RTX 3090 (CUDA0) can't run this build: SIGABRT: no kernel image" in said.warnings[0]
    assert len(said.lines) == 1


def test_a_card_that_decodes_nonsense_is_doubted():
    said = report(hardware(CARD), (ON_CPU, DeviceCheck(CARD, text="@@", agrees=False)))
    assert said.warnings == ("RTX 3090 decodes other tokens than the CPU: check its driver",)


def test_a_build_that_the_cpu_can_not_run_is_refused():
    said = report(hardware(), (DeviceCheck(HOST, fault="SIGILL"),))
    assert said.problem == "this llama.cpp does not run on this CPU: SIGILL"


def test_a_build_with_rpc_is_refused():
    said = report(hardware(registries=("RPC", "CPU")), (ON_CPU,))
    assert said.problem
    assert "RPC" in said.problem
