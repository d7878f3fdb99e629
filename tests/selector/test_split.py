from bisect import bisect_right
from itertools import accumulate
from random import Random

import numpy as np
import pytest
import selector_specs as specs
from selector_machines import machine, unified

from edgellm.profiles import load_profiles
from edgellm.selector.budget import pool_budgets
from edgellm.selector.memory import ContextShape
from edgellm.selector.plan import Placement
from edgellm.selector.load import Bulk
from edgellm.selector.machine import Machine, Shortfall
from edgellm.selector.proportions import layer_counts, tensor_split
from edgellm.selector.shares import Ways
from edgellm.selector.split import place
from edgellm.units import GIB, MIB

SHAPE = ContextShape(8192, n_seq_max=1, n_ubatch=512, n_outputs_max=1)


def put(spec, hardware, n_gpu_layers=None, shape=SHAPE) -> Placement | Shortfall:
    described = Machine(hardware, pool_budgets(hardware), load_profiles().speed)
    return place(Bulk.of(spec).load(shape), described, hardware.accelerators, Ways(n_gpu_layers))


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
        assert llama_cpp_layers(tensor_split(counts), sum(counts), n_all) == counts


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
    placed = put(spec, unified(56))
    on_gpu = placed.shares[0]
    assert on_gpu.total_bytes <= 0.75 * 56 * GIB
    assert 0 < placed.n_gpu_layers < 81


def test_layers_left_behind_cost_the_card_a_copy_for_prompts():
    whole = put(specs.dense(), machine((24, 1000)))
    partly = put(specs.dense(), machine((24, 1000)), n_gpu_layers=20)
    assert partly.shares[0].compute_bytes > whole.shares[0].compute_bytes + 40 * MIB
