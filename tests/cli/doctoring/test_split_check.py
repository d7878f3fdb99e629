"""`doctor` on models that are served: a split that one card would beat is named."""

from dataclasses import replace

import pytest
from doctor_place import HEALTHY

from edgellm.cli.doctoring.split_check import split
from edgellm.probe.hardware import Device, MemoryPool
from edgellm.status import MemoryParts, ModelStatus, PlanStatus, ShareStatus
from edgellm.units import GIB

BUILT = HEALTHY.hardware


def hardware(*cards):
    """(name, GiB, GB/s) each."""
    devices = tuple(Device(name, "nvidia", name, "cuda", name) for name, _, _ in cards)
    pools = tuple(
        MemoryPool(name, "dedicated", gib * GIB, None, rate and rate * 1e9)
        for name, gib, rate in cards
    )
    return replace(BUILT, devices=(*devices, *BUILT.devices), pools=(*pools, *BUILT.pools))


def served(*parts, on_host=0):
    """(device, GiB) each, and layers that the host has."""
    shares = [
        ShareStatus(device_id=name, n_layers=8, predicted=MemoryParts(weight_bytes=gib * GIB))
        for name, gib in parts
    ]
    host = ShareStatus(device_id="cpu", n_layers=on_host, predicted=MemoryParts(weight_bytes=GIB))
    plan = PlanStatus(
        file="a.gguf", quant="Q4_K_M", n_ctx=4096, n_ctx_seq=4096, n_parallel=1, kv_type_k="f16",
        kv_type_v="f16", n_threads=4, n_gpu_layers=99, shares=(*shares, host),
    )  # fmt: skip
    return ModelStatus(name="a", state="ready", plan=plan)


def finding(machine, *models):
    return split(replace(HEALTHY, hardware=machine, served=models))


def test_a_weak_card_beside_a_strong_one_that_could_do_it_alone():
    machine = hardware(("GTX 1070", 8, 256), ("RTX 3090", 24, 936))
    found = finding(machine, served(("GTX 1070", 4), ("RTX 3090", 8)))

    assert found.verdict == "warning"
    assert "fit on RTX 3090 alone" in found.message
    # (4/256 + 8/936) / (12/936) = 1.885
    assert "about 89% faster" in found.message
    assert found.fix == "edgellm serve a -ts 0,1"


@pytest.mark.parametrize(
    ("cards", "model"),
    [
        # like cards
        ((("a", 24, 936), ("b", 24, 936)), served(("a", 6), ("b", 6))),
        # too big for one
        ((("a", 8, 256), ("b", 24, 936)), served(("a", 6), ("b", 20))),
        # the processor has layers too
        ((("a", 8, 256), ("b", 24, 936)), served(("a", 4), ("b", 8), on_host=3)),
        # nobody knows how fast one is
        ((("a", 8, None), ("b", 24, 936)), served(("a", 4), ("b", 8))),
        # it is on one card
        ((("a", 8, 256), ("b", 24, 936)), served(("b", 8))),
    ],
)
def test_a_split_that_is_needed_or_costs_nothing_is_no_finding(cards, model):
    assert finding(hardware(*cards), model).verdict == "ok"


def test_nothing_served_is_nothing_split():
    assert finding(BUILT).message == "no model is split"
