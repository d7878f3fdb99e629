"""The load as a placement says, with the real llama.cpp and tiny models."""

import os
import re
from dataclasses import replace

import pytest
from cli_runs import SHARED_MODELS, needs_shared_models
from real_model import demo_path

from edgellm.cli.preparing.resolve import on_disk
from edgellm.probe.detect import detect
from edgellm.profiles import load_profiles
from edgellm.runner.account import measured_shares
from edgellm.runner.llama.overrides import experts_patterns
from edgellm.selector.choose import choose
from edgellm.selector.plan import ExpertPart, Goal
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
    (pattern,) = experts_patterns(3)
    assert bool(re.search(pattern, name)) is is_kept


def test_a_part_of_a_layers_experts_is_meant_by_its_matrices():
    whole, part = experts_patterns(2, [(5, ("gate", "down"))])
    names = [f"blk.5.ffn_{matrix}_exps.weight" for matrix in ("up", "gate", "gate_up", "down")]
    assert [bool(re.search(part, name)) for name in names] == [False, True, False, True]
    assert not any(re.search(whole, name) for name in names)
    assert not re.search(part, "blk.15.ffn_down_exps.weight")
    assert experts_patterns(0, [(5, ("down",))]) == experts_patterns(2, [(5, ("down",))])[1:]


def planned(path):
    """For the CPU alone, whatever else this machine has."""
    hardware = detect(measure_bandwidth=False)
    cpu_only = replace(hardware, devices=hardware.devices[-1:], pools=hardware.pools[-1:])
    candidates = on_disk(path).candidates
    return choose(
        cpu_only, candidates, Goal(n_ctx_seq=512, n_parallel=2), load_profiles()
    ), cpu_only


def loaded(path, plan, on_progress=lambda ratio: None):
    from edgellm.runner.llama.load import load

    return load(os.fsencode(path), plan, on_progress)


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
@pytest.mark.parametrize("name", ["tiny-qwen3moe-q8_0", "tiny-gpt-oss-mxfp4_moe"])
def test_of_a_cut_layer_the_hosts_matrices_are_sent_to_the_cpu_and_no_others(name):
    path = SHARED_MODELS / f"{name}.gguf"
    plan, hardware = planned(path)
    cut = replace(plan.shares[-1], expert_parts=(ExpertPart(1, ("gate", "down")),))
    placement = replace(plan.placement, shares=(cut,), n_cpu_moe=1)

    cut_plan = replace(plan, placement=placement)
    taken, sent = loaded(path, cut_plan), sent_elsewhere(path, cut_plan)

    matrices = {tensor.partition(".weight")[0].partition(".bias")[0] for tensor in sent}
    assert matrices == {
        *(f"blk.0.ffn_{matrix}_exps" for matrix in ("up", "gate", "down")),
        *(f"blk.1.ffn_{matrix}_exps" for matrix in ("gate", "down")),
    }
    (share,) = measured_shares(taken.memory, placement, hardware)
    assert share.weight_bytes == pytest.approx(plan.shares[0].weight_bytes, rel=0.01)


@pytest.mark.model
@needs_shared_models
def test_that_all_weights_are_read_is_told_however_fast_it_was():
    """What comes behind them takes a while, and whoever looks on wants to know that."""
    path = SHARED_MODELS / "babyllama105-q4_0.gguf"
    plan, _ = planned(path)
    told = []
    loaded(path, plan, told.append)
    assert told[-1] == 1.0
    assert len(told) < 10, "not for each tensor"


@pytest.mark.model
def test_what_was_loaded_is_freed_with_whoever_holds_it():
    plan, _ = planned(demo_path())
    one, freed = loaded(demo_path(), plan), []
    one.owned.callback(freed.append, "a part of it")
    del one
    assert freed == ["a part of it"]


def sent_elsewhere(path, plan) -> list[str]:
    """Tensors that llama.cpp puts where it was told to, as its log of a load says."""
    import llama_cpp

    from edgellm.runner.llama.load import _listen, _model_params

    lines: list[str] = []
    kept: list[object] = []
    _listen(lines)
    params = _model_params(plan, lambda ratio: None, kept)
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    _listen(None)
    llama_cpp.llama_model_free(model)
    return [found[1] for line in lines if (found := re.match(r"tensor (\S+) .*overridden", line))]


@pytest.mark.model
@needs_shared_models
def test_more_proportions_than_llama_cpp_takes_are_a_load_error():
    from edgellm.runner.llama.load import LoadError

    plan, _ = planned(MOE)
    with pytest.raises(LoadError, match="100 devices"):
        loaded(MOE, replace(plan, placement=replace(plan.placement, tensor_split=(1.0,) * 100)))
