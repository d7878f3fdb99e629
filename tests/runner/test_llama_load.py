"""The load as a placement says, with the real llama.cpp and tiny models."""

import os
import re
from dataclasses import replace

import pytest
from cli_runs import SHARED_MODELS, needs_shared_models

from edgellm.cli.resolve import on_disk
from edgellm.probe.detect import detect
from edgellm.profiles import load_profiles
from edgellm.runner.account import measured_shares
from edgellm.runner.llama_overrides import experts_pattern
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal
from edgellm.units import MIB

MOE = SHARED_MODELS / "tiny-qwen3moe-q8_0.gguf"


@pytest.mark.parametrize(
    ("name", "is_kept"),
    [
        ("blk.0.ffn_up_exps.weight", True),
        ("blk.2.ffn_down_exps.bias", True),
        ("blk.1.ffn_gate_up_exps.weight", True),
        ("blk.1.ffn_gate_chexps.weight", True),
        ("blk.3.ffn_up_exps.weight", False),
        ("blk.10.ffn_up_exps.weight", False),
        ("blk.0.ffn_up_shexp.weight", False),
        ("blk.0.ffn_up.weight", False),
        ("blk.0.ffn_gate_inp.weight", False),
        ("blk.0.attn_q.weight", False),
        ("output.weight", False),
    ],
)
def test_the_experts_of_the_first_layers_are_meant_and_nothing_else(name, is_kept):
    assert bool(re.search(experts_pattern(3), name)) is is_kept


def planned(path):
    """For the CPU alone, whatever else this machine has."""
    hardware = detect(measure_bandwidth=False)
    cpu_only = replace(hardware, devices=hardware.devices[-1:], pools=hardware.pools[-1:])
    candidates = on_disk(path).candidates
    return choose(
        cpu_only, candidates, Goal(n_ctx_seq=512, n_parallel=2), load_profiles()
    ), cpu_only


def loaded(path, plan):
    from edgellm.runner.llama_load import load

    return load(os.fsencode(path), plan, lambda ratio: None)


@pytest.mark.model
@needs_shared_models
@pytest.mark.parametrize(
    "name",
    ["babyllama105-q4_0", "tiny-qwen3-q8_0", "tiny-gemma3-q8_0", "tiny-deepseek2-q8_0"],
)
def test_what_llama_cpp_takes_is_what_was_planned(name):
    plan, hardware = planned(SHARED_MODELS / f"{name}.gguf")
    (share,) = plan.shares
    (taken,) = measured_shares(
        loaded(SHARED_MODELS / f"{name}.gguf", plan).memory, plan.placement, hardware
    )

    assert taken.weight_bytes == pytest.approx(share.weight_bytes, rel=0.01)
    assert taken.kv_bytes == pytest.approx(share.kv_bytes, rel=0.01)
    assert taken.compute_bytes == pytest.approx(share.compute_bytes, rel=0.01, abs=MIB)


@pytest.mark.model
@needs_shared_models
def test_llama_cpp_is_told_where_the_experts_go(capfd):
    """With nothing but a CPU it makes no difference, but llama.cpp says that it was told."""
    plan, _ = planned(MOE)
    loaded(MOE, plan)
    assert "tensor overrides" not in capfd.readouterr().err

    loaded(MOE, replace(plan, placement=replace(plan.placement, n_cpu_moe=1)))

    assert "tensor overrides to CPU" in capfd.readouterr().err


@pytest.mark.model
@needs_shared_models
def test_more_proportions_than_llama_cpp_takes_are_a_load_error():
    from edgellm.runner.llama_load import LoadError

    plan, _ = planned(MOE)
    with pytest.raises(LoadError, match="100 devices"):
        loaded(MOE, replace(plan, placement=replace(plan.placement, tensor_split=(1.0,) * 100)))
