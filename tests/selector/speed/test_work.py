from dataclasses import replace

import pytest
import selector_specs as specs

from edgellm.models.anatomy.tensor_types import TypeShare
from edgellm.models.spec import LayerSpec
from edgellm.profiles import load_profiles
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import ExpertPart, Placement, Share
from edgellm.selector.speed.work import (
    Step,
    Work,
    active_bytes,
    dense_mix,
    expert_mix,
    host_experts,
    main_type,
    reading_ratio,
    share_work,
)

FAMILY = replace(
    load_profiles().speed.families[0],
    type_costs={"q8_0": 0.7, "mxfp4": 1.1, "q3_k": 9.0},
    prefill_costs={"q8_0": 0.98},
)
SHAPE = ContextShape(4096, n_seq_max=1, n_ubatch=512, n_outputs_max=1)
ONE_TOKEN = Step(n_tokens=1, n_seqs=1, depth=0)


def on(spec, layers, device="gpu0", **changes) -> tuple[Placement, Share]:
    share = Share(device, device, tuple(layers), 0, 0, 0)
    host = Share("cpu", "host", (), 0, 0, 0)
    return Placement((share, host), len(share.layers), **changes), share


def work_of(spec, step=ONE_TOKEN, layers=None, **changes) -> Work:
    placement, share = on(spec, layers or range(spec.n_layers + 1), **changes)
    return share_work(spec, SHAPE, placement, share, step)


def test_of_the_experts_only_the_used_are_read():
    spec = specs.moe()
    layer = spec.layers[0]
    dense = layer.weight_bytes - layer.expert_bytes
    assert active_bytes(spec, layer) == pytest.approx(dense + layer.expert_bytes / 16, rel=1e-6)
    assert active_bytes(spec, layer, 4096) == pytest.approx(layer.weight_bytes, rel=1e-6)


def test_a_step_reads_everything_once_but_the_embedding():
    spec = specs.dense()
    work = work_of(spec)
    assert work.dense_bytes == spec.weight_bytes - spec.input_bytes
    assert work.blocks == spec.n_layers
    assert work.expert_bytes == work.dense_flops == work.memory_bytes == 0


def test_a_tied_embedding_is_read_as_the_head():
    spec = specs.dense(tied=True)
    assert work_of(spec).dense_bytes == sum(x.weight_bytes for x in spec.layers) + spec.output_bytes


def test_more_streams_hit_more_experts_and_fewer_than_chance_would():
    spec = specs.moe()
    one, eight, many = (work_of(spec, Step(n, n, 0)).expert_bytes for n in (1, 8, 4096))
    experts = sum(layer.expert_bytes for layer in spec.layers)
    assert one == pytest.approx(experts / 16, rel=1e-6)
    assert one < eight < 8 * one
    assert eight < experts * (1 - (1 - 1 / 16) ** 8)
    assert many == pytest.approx(experts, rel=0.01)


def test_the_cache_is_read_as_deep_as_it_is_filled_and_once_a_sequence():
    spec = specs.dense()
    token = spec.n_layers * 2 * 8 * 128 * 2  # K and V of eight heads in f16
    assert work_of(spec, Step(1, 1, 1000)).memory_bytes == 1000 * token
    assert work_of(spec, Step(4, 4, 1000)).memory_bytes == 4000 * token


def test_a_window_bounds_what_is_read():
    spec = specs.gemma3_27b()
    near, far = (work_of(spec, Step(1, 1, depth)).memory_bytes for depth in (1024, 8192))
    full = sum(layer.kv_kind == "full" for layer in spec.layers) / spec.n_layers
    # A card passes over all cells of the sliding cache: the window's 1024 and a micro-batch's 512.
    assert far == pytest.approx(near * (8 * full + 1.5 * (1 - full)))


def test_the_cpu_leaves_out_what_a_window_hides():
    spec = specs.gemma3_27b()
    host = Share("cpu", "host", tuple(range(spec.n_layers + 1)), 0, 0, 0)
    placement = Placement((host,), 0)
    near, far = (
        share_work(spec, SHAPE, placement, host, Step(1, 1, depth)).memory_bytes
        for depth in (1024, 8192)
    )
    full = sum(layer.kv_kind == "full" for layer in spec.layers) / spec.n_layers
    assert far == pytest.approx(near * (1 + 7 * full))


def test_every_head_multiplies_with_the_cache_that_it_shares():
    spec = specs.dense()
    assert work_of(spec, Step(1, 1, 1000)).memory_flops == 4 * 32 * 128 * 1000 * spec.n_layers


def test_a_latent_cache_has_no_values():
    spec = specs.deepseek_v3()
    assert work_of(spec, Step(1, 1, 100)).memory_bytes == 100 * spec.n_layers * 576 * 2


def test_a_recurrent_state_is_read_and_written_however_long_the_text():
    spec = specs.lfm2_350m()
    kept = [layer for layer in spec.layers if layer.kv_kind == "recurrent"]
    work = work_of(spec, Step(1, 1, 0))
    assert work.memory_bytes == 2 * sum(layer.state_bytes for layer in kept)
    assert 0 < work.recurrent_blocks < 0.2  # short convolutions
    large = tuple(replace(layer, state_bytes=1 << 21) for layer in kept)
    heavy = replace(spec, layers=large, name="state-space")
    assert work_of(heavy).recurrent_blocks == len(large)


def test_a_prompt_multiplies_and_a_token_does_not():
    spec = specs.dense(quant="F16")
    prompt = work_of(spec, Step(513, 1, 0))
    weights = sum(layer.weight_bytes for layer in spec.layers) / 2
    assert prompt.dense_flops == pytest.approx(2 * weights * 512, rel=0.2)
    assert prompt.attention_flops == pytest.approx(4 * 32 * 128 * 256 * 512 * 32, rel=0.01)
    assert prompt.dense_bytes == work_of(spec).dense_bytes


def test_parts_of_the_layers_add_up_to_all():
    spec = specs.moe()
    step = Step(64, 1, 512)
    parts = [work_of(spec, step, range(a, b)) for a, b in ((0, 10), (10, 30), (30, 49))]
    total = parts[0].plus(parts[1]).plus(parts[2])
    assert tuple(total) == pytest.approx(tuple(work_of(spec, step)))


def test_experts_kept_by_the_host_are_the_hosts_work():
    spec = specs.moe()
    layers = tuple(range(spec.n_layers + 1))
    host = Share("cpu", "host", (), 0, 0, 0, expert_layers=tuple(range(10)))
    card = Share("gpu0", "gpu0", layers, 0, 0, 0)
    placement = Placement((card, host), len(layers), n_cpu_moe=10)
    kept, n_blocks = host_experts(spec, SHAPE, host, ONE_TOKEN)
    left = share_work(spec, SHAPE, placement, card, ONE_TOKEN)
    assert n_blocks == 10
    assert tuple(left.plus(kept)) == pytest.approx(tuple(work_of(spec)))
    assert left.moe_blocks == spec.n_layers
    assert left.dense_bytes == work_of(spec).dense_bytes


def test_a_part_of_a_layers_experts_is_work_by_its_bytes():
    spec = specs.moe()
    layers = tuple(range(spec.n_layers + 1))
    part = ExpertPart(10, ("down",))
    host = Share("cpu", "host", (), 0, 0, 0, expert_layers=tuple(range(10)), expert_parts=(part,))
    card = Share("gpu0", "gpu0", layers, 0, 0, 0)
    placement = Placement((card, host), len(layers), n_cpu_moe=10)
    kept, n_blocks = host_experts(spec, SHAPE, host, ONE_TOKEN)
    left = share_work(spec, SHAPE, placement, card, ONE_TOKEN)
    whole = replace(host, expert_parts=())
    more = kept.expert_bytes - host_experts(spec, SHAPE, whole, ONE_TOKEN)[0].expert_bytes
    used = spec.n_expert_used / spec.n_expert
    assert n_blocks == 11
    assert tuple(left.plus(kept)) == pytest.approx(tuple(work_of(spec)))
    assert more == pytest.approx(used * spec.layers[10].matrices_bytes(("down",)))


def test_a_draft_block_that_is_not_loaded_costs_nothing():
    spec = specs.dense()
    longer = replace(spec, layers=(*spec.layers, LayerSpec(0, "none")))
    assert work_of(longer).blocks == spec.n_layers


def test_the_mix_of_types_is_told_apart_for_experts_and_the_rest():
    types = (
        TypeShare("ffn", "mxfp4", 3000), TypeShare("ffn_down", "mxfp4", 1000),
        TypeShare("attention", "q8_0", 300), TypeShare("output", "q8_0", 100),
        TypeShare("embedding", "f16", 10_000),
    )  # fmt: skip
    spec = replace(specs.moe(), types=types, name="mixed")
    assert expert_mix(spec).parts == (("mxfp4", 0.75), ("mxfp4", 0.25))
    assert expert_mix(spec).bytes_a_weight == 17 / 32
    assert dense_mix(spec).bytes_a_weight == 34 / 32
    assert FAMILY.cost(dense_mix(spec).parts) == pytest.approx(0.7)
    assert FAMILY.cost(expert_mix(spec).parts) == pytest.approx(1.1)
    assert FAMILY.cost(dense_mix(spec).parts, multiplied=True) == pytest.approx(0.98)


def test_the_main_type_is_the_one_that_most_of_a_tokens_bytes_are_in():
    types = (
        TypeShare("ffn", "mxfp4", 30_000), TypeShare("attention", "q8_0", 3_000),
        TypeShare("embedding", "f16", 100_000),
    )  # fmt: skip
    spec = replace(specs.moe(), types=types, name="mostly experts")
    assert main_type(spec) == "q8_0"  # a sixteenth of the experts is used
    assert main_type(replace(spec, n_expert_used=spec.n_expert)) == "mxfp4"
    assert main_type(replace(spec, types=())) is None


def test_without_types_the_average_has_to_do():
    spec = replace(specs.dense(), types=(), name="untold")
    assert dense_mix(spec).bytes_a_weight == pytest.approx(spec.weight_bytes / spec.n_params)
    assert FAMILY.cost(dense_mix(spec).parts) == 1.0


def test_in_a_short_step_each_token_reads_its_experts_for_itself():
    """4 of 32 each; alone that is an eighth of all, and two tokens seldom share a choice."""
    spec = replace(specs.moe(), n_expert=32, n_expert_used=4)
    layer = replace(spec.layers[0], weight_bytes=3200, expert_bytes=3200)
    read = [
        active_bytes(spec, layer, n) * reading_ratio(spec, n, n_apart=8) / 400 for n in (1, 2, 8)
    ]
    assert read == pytest.approx([1.0, 2.0, 7.2], rel=0.03)


def test_a_matrix_kernel_reads_no_less_than_the_vector_kernel_before_it_and_no_expert_twice():
    spec = replace(specs.moe(), n_expert=32, n_expert_used=4)
    layer = replace(spec.layers[0], weight_bytes=3200, expert_bytes=3200)

    def read(n: int, n_apart: int) -> float:
        return active_bytes(spec, layer, n) * reading_ratio(spec, n, n_apart)

    assert read(9, n_apart=8) == pytest.approx(read(8, n_apart=8), rel=0.01)
    assert read(31, n_apart=31) > 2 * 3200
    assert read(32, n_apart=31) == pytest.approx(3200, rel=0.01)
    assert reading_ratio(specs.dense(), 8, n_apart=8) == 1.0
