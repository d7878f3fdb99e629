from bisect import bisect_right
from itertools import accumulate
from random import Random

import numpy as np
import pytest
import selector_specs as specs
from selector_machines import machine, unified

from edgellm.models.known import catalog
from edgellm.profiles import load_profiles
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.memory.load import Bulk
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.memory.shares import Ways
from edgellm.selector.placing.machine import Machine, Shortfall
from edgellm.selector.placing.proportions import layer_counts, tensor_split
from edgellm.selector.placing.split import place, sketch
from edgellm.selector.plan import Placement
from edgellm.units import GIB, MIB

SHAPE = ContextShape(8192, n_seq_max=1, n_ubatch=512, n_outputs_max=1)


def put(spec, hardware, n_gpu_layers=None, shape=SHAPE) -> Placement | Shortfall:
    return put_in(spec, hardware, shape, n_gpu_layers=n_gpu_layers)


def put_in(spec, hardware, shape=SHAPE, **ways) -> Placement | Shortfall:
    described = Machine(hardware, pool_budgets(hardware), load_profiles().speed)
    return place(Bulk.of(spec).load(shape), described, hardware.accelerators, Ways(**ways))


def llama_cpp_layers(split, n_gpu_layers: int, n_all: int) -> list[int]:
    """How many layers each device gets by llama.cpp's own rule, in its float32.

    Source: src/llama-model.cpp load_tensors: cumulated splits over their sum, then
    std::upper_bound of (il - i_gpu_start) / act_gpu_layers.
    """
    cumulated = list(accumulate((np.float32(part) for part in split), lambda a, b: a + b))
    points = [part / cumulated[-1] for part in cumulated]
    start = max(n_all - n_gpu_layers, 0)
    counts = [0] * len(split)
    for il in range(start, n_all):
        at = np.float32(il - start) / np.float32(min(n_gpu_layers, n_all))
        counts[bisect_right(points, at)] += 1
    return counts


def test_llama_cpp_places_exactly_the_planned_layers_on_each_device():
    random = Random(7)
    for _ in range(500):
        counts = [random.randint(1, 60) for _ in range(random.randint(1, 8))]
        n_all = sum(counts) + random.choice([0, 0, random.randint(1, 40)])
        split = tensor_split(counts)
        assert llama_cpp_layers(split, sum(counts), n_all) == counts
        assert list(layer_counts(split, sum(counts))) == counts


def test_any_split_is_cut_as_llama_cpp_cuts_it():
    random = Random(8)
    for _ in range(500):
        split = tuple(random.choice([0.0, 1.0, 1.0, 2.0, 3.0, 0.1, 0.7]) for _ in range(4))
        n = random.randint(1, 99)
        if any(split):
            assert list(layer_counts(split, n)) == llama_cpp_layers(split, n, n)


def test_everything_goes_to_a_card_that_holds_it():
    placed = put(specs.dense(), machine((24, 1000)))
    assert placed.n_gpu_layers == 33
    assert placed.shares[0].layers == tuple(range(33))
    assert placed.shares[1].layers == ()
    assert placed.shares[1].weight_bytes == specs.dense().input_bytes


def test_the_head_is_the_first_to_leave_the_cpu():
    placed = put(specs.dense(), machine((24, 1000)), n_gpu_layers=1)
    assert placed.shares[0].layers == (32,)
    assert placed.shares[0].weight_bytes == specs.dense().output_bytes
    assert placed.shares[1].layers == tuple(range(32))


def test_what_a_card_cannot_hold_stays_with_the_cpu_from_the_front():
    placed = put(specs.llama_70b(), machine((24, 1000)))
    on_card, on_host = placed.shares
    assert on_host.layers == tuple(range(len(on_host.layers)))
    assert on_card.layers == tuple(range(len(on_host.layers), 81))
    assert 30 < placed.n_gpu_layers < 50


def test_equal_cards_share_evenly_by_their_room():
    placed = put(specs.dense(quant="F16"), machine((12, 500), (12, 500)))
    assert abs(len(placed.shares[0].layers) - len(placed.shares[1].layers)) <= 3
    uneven = put(specs.dense(quant="F16"), machine((8, 500), (16, 500)))
    assert len(uneven.shares[1].layers) > 1.5 * len(uneven.shares[0].layers)


def test_the_faster_card_is_filled_first():
    placed = put(specs.dense(quant="Q8_0"), machine((24, 1000), (24, 250)))
    assert placed.device_ids == ("gpu0",)
    together = put(specs.dense(quant="F16"), machine((12, 1000), (24, 250)))
    fast = next(share for share in together.shares if share.device_id == "gpu0")
    assert fast.total_bytes > 10 * GIB
    assert together.device_ids == ("gpu1", "gpu0"), "the fastest has the head, so it comes last"


@pytest.mark.parametrize("op_offload", [True, False])
def test_where_the_host_computes_the_faster_card_comes_first_as_prompts_go_there(op_offload):
    cards = (12, 1000), (8, 250), (12, 1000)
    placed = put_in(specs.llama_70b(), machine(*cards), op_offload=op_offload)
    assert placed.device_ids == ("gpu0", "gpu2", "gpu1")
    first, second, slow, host = placed.shares
    assert 0 < len(host.layers) == first.layers[0]
    assert first.total_bytes > 11 * GIB < second.total_bytes
    assert slow.total_bytes > 7 * GIB
    assert slow.layers[-1] == 80


def test_a_pin_that_the_faster_card_can_hold_leaves_the_slower_one_out():
    placed = put(specs.llama_70b(), machine((8, 250), (12, 1000)), n_gpu_layers=10)
    assert placed.device_ids == ("gpu1",)
    assert placed.shares[0].layers == tuple(range(71, 81))


def test_experts_that_the_host_keeps_are_those_of_the_faster_card():
    placed = put(specs.moe(), machine((4, 250), (8, 1000)))
    assert placed.device_ids == ("gpu1", "gpu0")
    assert 0 < placed.n_cpu_moe < placed.shares[0].layers[-1]
    assert placed.shares[0].total_bytes > 7 * GIB
    assert placed.shares[1].total_bytes > 3 * GIB


def test_a_card_too_small_for_anything_is_left_out():
    placed = put(specs.dense(), machine((0.5, 1000), (24, 500)))
    assert placed.device_ids == ("gpu1",)


def test_an_overfull_machine_names_the_pool_and_the_sum():
    short = put(specs.llama_70b(), machine((8, 1000), ram=16))
    assert isinstance(short, Shortfall)
    assert short.pool_id == "host"
    assert short.missing_bytes > 10 * GIB
    assert sum(len(share.layers) for share in short.shares) == 81


def test_pinned_layers_that_do_not_fit_are_refused_with_the_cards_sum():
    short = put(specs.llama_70b(), machine((24, 1000)), n_gpu_layers=80)
    assert isinstance(short, Shortfall)
    assert short.pool_id == "gpu0"
    assert short.needed_bytes > 40 * GIB


@pytest.mark.parametrize("pinned", [-1, 99, 33])
def test_a_pin_of_all_layers_means_all(pinned):
    assert put(specs.dense(), machine((24, 1000)), n_gpu_layers=pinned).n_gpu_layers == 33


def test_a_pin_of_no_layers_leaves_the_card_alone():
    placed = put(specs.dense(), machine((24, 1000)), n_gpu_layers=0)
    assert placed.device_ids == ()
    assert placed.tensor_split == ()


def test_unified_memory_is_counted_once():
    placed = put(specs.dense(), unified(16))
    assert placed.n_gpu_layers == 33
    assert sum(share.total_bytes for share in placed.shares) < 15 * GIB


def test_a_mac_wires_no_more_than_three_quarters():
    spec = specs.llama_70b()
    placed = put(spec, unified(52))
    on_gpu = placed.shares[0]
    assert on_gpu.total_bytes <= 0.75 * 52 * GIB
    assert 0 < placed.n_gpu_layers < 81


# ---- experts


def moe_at(card_gib: float, ram: float = 64, **ways):
    return put_in(specs.moe(), machine((card_gib, 1000), ram=ram), **ways)


def test_experts_go_to_the_cpu_before_whole_layers():
    placed = moe_at(12)
    assert placed.n_gpu_layers == 49
    assert 0 < placed.n_cpu_moe < 48
    on_card, on_host = placed.shares
    assert on_host.layers == ()
    assert on_host.expert_layers == tuple(range(placed.n_cpu_moe))
    assert on_card.layers == tuple(range(49))


def test_as_few_experts_as_possible_are_left_to_the_cpu():
    placed = moe_at(12)
    fewer = moe_at(12, n_cpu_moe=placed.n_cpu_moe, n_gpu_layers=-1)
    assert placed.expert_parts
    assert isinstance(fewer, Shortfall)
    assert fewer.pool_id == "gpu0"


def test_experts_aside_are_counted_once():
    spec = specs.moe()
    placed = moe_at(12)
    together = sum(share.weight_bytes for share in placed.shares)
    assert together == pytest.approx(spec.weight_bytes, abs=MIB)
    host = placed.shares[-1]
    aside = sum(spec.layers[il].expert_bytes for il in host.expert_layers)
    aside += sum(spec.layers[il].matrices_bytes(matrices) for il, matrices in host.expert_parts)
    assert host.weight_bytes == pytest.approx(spec.input_bytes + aside, abs=MIB)


def test_whole_layers_follow_when_all_experts_are_gone_already():
    placed = moe_at(1.6)
    assert placed.n_cpu_moe == 48
    assert not placed.expert_parts
    assert 0 < placed.n_gpu_layers < 49
    host = placed.shares[-1]
    assert host.layers == tuple(range(49 - placed.n_gpu_layers))
    assert host.expert_layers == tuple(range(len(host.layers), 48))


def test_a_pinned_number_of_experts_is_kept():
    assert moe_at(24, n_cpu_moe=20).n_cpu_moe == 20
    assert not moe_at(24, n_cpu_moe=20).expert_parts
    assert moe_at(12, n_cpu_moe=48).n_cpu_moe == 48
    assert moe_at(24, n_cpu_moe=999).n_cpu_moe == 48


def test_without_the_copy_for_prompts_more_experts_find_room():
    spec = catalog.spec(catalog.find("gpt-oss:120b"), "MXFP4")
    hardware = machine((24, 936), ram=64)
    with_copy = put_in(spec, hardware)
    without = put_in(spec, hardware, op_offload=False)
    assert without.shares[-1].weight_bytes < with_copy.shares[-1].weight_bytes
    assert without.no_host
    assert not with_copy.no_host


def test_two_cards_hold_the_light_layers_in_runs_that_llama_cpp_cuts_alike():
    placed = put_in(specs.moe("big", quant="F16"), machine((24, 936), (24, 936)))
    assert placed.n_cpu_moe > 0
    counts = [len(share.layers) for share in placed.shares[:-1]]
    assert llama_cpp_layers(placed.tensor_split, placed.n_gpu_layers, 49) == counts


# ---- pins


def test_a_pinned_split_shares_the_layers_as_llama_cpp_would():
    placed = put_in(specs.dense(), machine((24, 1000), (24, 500)), tensor_split=(3.0, 1.0))
    assert placed.tensor_split == (3.0, 1.0)
    assert placed.device_ids == ("gpu0", "gpu1")
    counts = [len(share.layers) for share in placed.shares[:-1]]
    assert counts == llama_cpp_layers((3.0, 1.0), 33, 33)


def test_a_pinned_split_takes_as_many_layers_as_its_smaller_card_allows():
    placed = put_in(specs.llama_70b(), machine((24, 1000), (12, 1000)), tensor_split=(1.0, 1.0))
    small = placed.shares[1]
    assert 0 < placed.n_gpu_layers < 81
    assert small.total_bytes <= 12 * GIB
    assert abs(len(placed.shares[0].layers) - len(small.layers)) <= 1


def test_a_pinned_split_that_does_not_fit_is_told_by_its_own_sum():
    short = put_in(
        specs.llama_70b(), machine((24, 1000), (24, 1000)), tensor_split=(3.0, 1.0), n_gpu_layers=-1
    )
    assert isinstance(short, Shortfall)
    assert short.pool_id == "gpu0"
    assert len(short.shares[0].layers) == 61


# ---- side by side


def test_split_by_tensors_every_card_carries_as_much():
    placed = put_in(
        specs.llama_70b(), machine((24, 936), (24, 936)), split_mode="tensor", n_gpu_layers=-1
    )
    assert placed.split_mode == "tensor"
    first, second = (share.weight_bytes for share in placed.shares[:-1])
    assert first == pytest.approx(second, rel=0.03)


# ---- disk


def test_weights_stay_on_disk_only_when_asked_for():
    hardware = machine(ram=16)
    assert isinstance(put_in(specs.llama_70b(), hardware), Shortfall)
    placed = put_in(specs.llama_70b(), hardware, allow_disk=True)
    in_memory = placed.shares[-1].total_bytes - placed.disk_bytes
    assert in_memory == pool_budgets(hardware)["host"]
    assert placed.disk_bytes > 20 * GIB


def test_a_cache_is_never_left_to_the_disk():
    shape = ContextShape(131072, n_seq_max=8, n_ubatch=512, n_outputs_max=8)
    load = Bulk.of(specs.dense()).load(shape)
    hardware = machine(ram=8)
    described = Machine(hardware, pool_budgets(hardware), load_profiles().speed)
    assert isinstance(place(load, described, (), Ways(allow_disk=True)), Shortfall)


# ---- sketches


def test_a_sketch_is_the_placement_but_for_its_buffers():
    for spec, cards in ((specs.dense(), 1), (specs.llama_70b(), 2), (specs.moe(), 1)):
        hardware = machine(*[(16, 900)] * cards, ram=128)
        described = Machine(hardware, pool_budgets(hardware), load_profiles().speed)
        load = Bulk.of(spec).load(SHAPE)
        exact = place(load, described, hardware.accelerators, Ways())
        sketched = sketch(load, described, hardware.accelerators, Ways())
        assert abs(exact.n_gpu_layers - sketched.n_gpu_layers) <= 1
        assert abs(exact.n_cpu_moe - sketched.n_cpu_moe) <= 1
        for told, drawn in zip(exact.shares, sketched.shares, strict=True):
            if told.layers == drawn.layers and told.expert_layers == drawn.expert_layers:
                assert (told.weight_bytes, told.kv_bytes) == (drawn.weight_bytes, drawn.kv_bytes)
