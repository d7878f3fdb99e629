"""From a plan to what may be touched."""

import pytest
from real_model import plan

from edgellm.runner.sandbox.rules import (
    has_drivers,
    is_wanted,
    rules_for,
    rules_for_headers,
)

CPU_BUILD = ("libggml.so", "libggml-base.so", "libggml-cpu.so", "libggml-blas.so")
CUDA_BUILD = (*CPU_BUILD, "libggml-cuda.so.0")
ALL_OF = ("base", "cpu-alderlake", "cpu-x64", "rpc")


def rules(files=("/m/model.gguf",), home=None, later=(), **choices):
    return rules_for(plan(**choices), files, later=later, code=("/env",), home=home)


@pytest.mark.parametrize("name", ["cuda", "hip", "vulkan", "sycl", "cann", "musa", "metal"])
def test_a_driver_stands_behind_every_library_that_is_not_the_cpus(name):
    assert not has_drivers(CPU_BUILD)
    assert not has_drivers(f"libggml-{one}.so" for one in ALL_OF)
    assert has_drivers((*CPU_BUILD, f"libggml-{name}.so"))


@pytest.mark.parametrize(
    ("mode", "devices", "libraries", "wanted"),
    [
        ("auto", (), CPU_BUILD, True), ("auto", ("CUDA0",), CUDA_BUILD, False),
        ("auto", (), CUDA_BUILD, False), ("on", ("CUDA0",), CUDA_BUILD, True),
        ("on", (), CPU_BUILD, True), ("off", (), CPU_BUILD, False),
    ],
)  # fmt: skip
def test_where_nobody_has_tried_it_it_has_to_be_said(mode, devices, libraries, wanted):
    assert is_wanted(mode, plan(devices=devices), libraries) is wanted


def test_what_belongs_to_a_model_is_read_and_needed():
    parts = ("/m/a-00001-of-00002.gguf", "/m/a-00002-of-00002.gguf")
    found = rules(parts, projector="/m/mmproj.gguf", draft="/m/small.gguf")
    assert found.needed == (*parts, "/m/mmproj.gguf", "/m/small.gguf")
    assert {*found.needed, "/env"} <= {*found.read}
    assert not {"/", "/etc", "/etc/passwd", "/home", "/root", "/m"} & {*found.read}


def test_what_may_be_asked_for_later_is_read_and_not_needed():
    found = rules(later=("/loras",))
    assert "/loras" in found.read
    assert "/loras" not in found.needed


def test_the_folder_of_past_conversations_is_all_that_is_written():
    assert rules().write == ()
    assert rules(prefix_disk="/cache").write == ("/cache",)


def test_a_driver_has_its_devices_and_its_caches():
    found = rules(home="/home/me", devices=("CUDA0",))
    assert {"/dev", "/home/me/.nv"} <= {*found.write}
    assert "/home/me" not in {*found.write, *found.read}


def test_who_looks_at_headers_reads_all_and_writes_nothing():
    assert rules_for_headers().read == ("/",)
    assert rules_for_headers().write == ()
