from dataclasses import replace

import pytest
from doctor_place import HEALTHY
from probe_fakes import FakeSources
from selector_machines import machine

from edgellm.cli.doctoring.checks import CHECKS, huge_pages_for
from edgellm.probe.hardware import Device, Serving, SourceFault
from edgellm.units import GIB

IDLE_GPU = Device(
    "0000:01:00.0", "nvidia", "RTX 4090", "none", "host", note="no CUDA backend; get one: …",
    serving=Serving("CUDA", False, "…"),
)  # fmt: skip


def findings(**changes):
    place = replace(HEALTHY, **changes)
    return {finding.name: finding for finding in (check(place) for check in CHECKS)}


def hardware(**changes):
    return replace(HEALTHY.hardware, **changes)


def test_a_healthy_place_has_no_findings():
    assert {finding.verdict for finding in findings().values()} == {"ok", "unknown"}


def test_what_cannot_be_seen_here_is_not_called_ok():
    found = findings()
    unseen = {name for name, finding in found.items() if finding.verdict == "unknown"}

    assert unseen == {"memory channels", "power", "heat", "cpu energy", "huge pages"}
    assert all("be read here" in found[name].message for name in unseen)


@pytest.mark.parametrize(
    ("name", "verdict", "changes"),
    [
        ("engine", "problem", {"llama_cpp_python": None}),
        ("engine", "problem", {"llama_cpp_python": "0.3.9"}),
        ("engine", "problem", {"hardware": hardware(ggml_registries=())}),
        (
            "accelerators",
            "problem",
            {"hardware": hardware(devices=(IDLE_GPU, *HEALTHY.hardware.devices))},
        ),
        ("cpu build", "warning", {"hardware": hardware(ggml_features=("SSE3",))}),
        ("memory", "warning", {"hardware": replace(machine(ram=2), ggml_registries=("CPU",))}),
        ("memory", "warning", {"hardware": hardware(cgroup_limit_bytes=2 * GIB)}),
        ("swap", "warning", {"swap_used_bytes": GIB}),
        ("huge pages", "warning", {"huge_pages": "never"}),
        ("sandbox", "warning", {"landlock_abi": 0}),
        ("disk", "warning", {"models_free_bytes": GIB}),
        ("disk", "problem", {"models_writable": False}),
        ("profiles", "problem", {"profiles_fault": "quality.toml can't be read"}),
        ("demo", "problem", {"demo_size_bytes": None}),
        ("probe", "warning", {"hardware": hardware(faults=(SourceFault("nvml", "timeout"),))}),
    ],
)
def test_what_is_wrong_is_found_and_comes_with_a_fix(name, verdict, changes):
    finding = findings(**changes)[name]

    assert finding.verdict == verdict
    assert finding.fix


@pytest.mark.parametrize(
    ("told", "word"),
    [("always [madvise] never\n", "madvise"), ("always madvise [never]\n", "never"), ("on", None)],
)
def test_who_gets_huge_pages_is_the_word_in_brackets(told, word):
    file = "/sys/kernel/mm/transparent_hugepage/enabled"

    assert huge_pages_for(FakeSources({file: told})) == word


def test_a_system_without_that_file_says_nothing_of_huge_pages():
    assert huge_pages_for(FakeSources()) is None


def test_an_unused_gpu_is_named_with_its_fix():
    found = findings(hardware=hardware(devices=(IDLE_GPU, *HEALTHY.hardware.devices)))

    assert found["accelerators"].message == "not used: RTX 4090"
    assert found["accelerators"].fix == "no CUDA backend; get one: …"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"landlock_abi": 7}, "Landlock, version 7: what reads a model's file can do little else"),
        ({"landlock_abi": 7, "has_drivers": True}, "not used beside drivers"),
        ({"landlock_abi": None}, "no Landlock here"),
    ],
)
def test_what_the_sandbox_can_do_is_said(facts, words):
    (found,) = (
        one for check in CHECKS if (one := check(replace(HEALTHY, **facts))).name == "sandbox"
    )
    assert found.verdict == "ok"
    assert words in found.message
