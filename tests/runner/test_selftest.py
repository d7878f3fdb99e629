import json

import pytest

from edgellm import resources
from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool
from edgellm.probe.sources import NoAnswer, Output, SystemSources
from edgellm.runner.selftest import selftest
from edgellm.runner.selftest_child import N_TOKENS

HOST = Device("cpu", "cpu", "a CPU", "cpu", "host", ggml_name="CPU")
CARD = Device("0000:01:00.0", "nvidia", "a card", "cuda", "host", ggml_name="CUDA0")
UNUSED = Device("0000:02:00.0", "nvidia", "an old card", "none", "host", note="too old")


def hardware(*devices):
    pools = (MemoryPool("host", "host", 2**30, None),)
    return Hardware(devices=(*devices, HOST), pools=pools, cpu=Cpu("a CPU", 1, 1, ()))


class Answers:
    """Sources of which only the child program is asked, once for each device."""

    system = "Linux"

    def __init__(self, **by_device):
        self.by_device = by_device

    def run(self, argv, timeout_s):
        assert argv[-4:-2] == ("-m", "edgellm.runner.selftest_child")
        return self.by_device.pop(argv[-2])

    def read_text(self, path):
        raise AssertionError(path)

    list = real_path = read_text


def decoded(*tokens):
    return Output(json.dumps({"tokens": tokens, "text": "x" * len(tokens)}))


def test_every_device_in_use_is_asked_and_no_other():
    sources = Answers(CPU=decoded(1, 2), CUDA0=decoded(1, 2))
    checks = selftest(hardware(CARD, UNUSED), resources.demo_model(), sources)
    assert [check.device for check in checks] == [HOST, CARD]
    assert [check.agrees for check in checks] == [None, True]
    assert sources.by_device == {}


def test_a_card_that_decodes_other_tokens_does_not_agree():
    sources = Answers(CPU=decoded(1, 2), CUDA0=decoded(1, 3))
    assert selftest(hardware(CARD), resources.demo_model(), sources)[1].agrees is False


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Output("", "", -4), "SIGILL: it was compiled for a CPU with instructions that this one"),
        (Output("", "warming up\nno kernel image\n\n", -6), "SIGABRT: no kernel image"),
        (NoAnswer("timeout", "selftest_child gave no answer within 60 s"), "within 60 s"),
        (Output("not JSON", "a driver talks"), "a driver talks"),
    ],
)
def test_a_build_that_does_not_run_says_why(answer, fault):
    (check,) = selftest(hardware(), resources.demo_model(), Answers(CPU=answer))
    assert fault in check.fault
    assert check.text is None


@pytest.mark.model
def test_the_demo_model_is_decoded_on_this_cpu():
    (check,) = selftest(hardware(), resources.demo_model(), SystemSources())
    assert check.fault is None
    assert len(check.text) >= N_TOKENS


@pytest.mark.model
def test_a_device_that_this_build_lacks_is_a_fault_and_no_crash_of_ours():
    absent = Device("x", "nvidia", "a card", "cuda", "host", ggml_name="CUDA7")
    checks = selftest(hardware(absent), resources.demo_model(), SystemSources())
    assert checks[1].fault == "exit code 1: llama.cpp finds no device 'CUDA7'"
