from dataclasses import replace
from itertools import product

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.models.anatomy.graph_facts import LayerTensor
from edgellm.models.known import catalog
from edgellm.profiles import load_profiles
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.memory.layout import Aside
from edgellm.selector.memory.load import Bulk
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.memory.shares import Ways
from edgellm.selector.placing.experts import fewest_experts, first
from edgellm.selector.placing.filling import Filling
from edgellm.selector.placing.machine import Machine
from edgellm.selector.placing.split import fill_order
from edgellm.selector.plan import ExpertPart

SHAPE = ContextShape(8192, n_seq_max=1, n_ubatch=512, n_outputs_max=1)
DOWN, GATE_DOWN = ("down",), ("gate", "down")


def filling(spec, *cards_gib: float, op_offload: bool = True) -> Filling:
    hardware = machine(*((size, 900) for size in cards_gib), ram=512)
    described = Machine(hardware, pool_budgets(hardware), load_profiles().speed)
    order = tuple(fill_order(described, hardware.accelerators))
    return Filling(Bulk.of(spec).load(SHAPE), described, order, Ways(op_offload=op_offload))


def host_bytes(filled: Filling, aside: Aside) -> int:
    return filled.load.bulk.aside_bytes(aside)[-1]


@pytest.mark.parametrize("card_gib", [4, 6, 8, 10, 12, 14, 16, 17])
def test_on_one_card_no_other_cut_leaves_less_to_the_host(card_gib):
    spec = specs.moe()
    filled, n_all = filling(spec, card_gib), spec.n_layers + 1
    found = fewest_experts(filled, n_all)
    cuts = product(range(spec.n_layers), ((), DOWN, GATE_DOWN))
    every = [Aside(n, (ExpertPart(n, matrices),) if matrices else ()) for n, matrices in cuts]
    fitting = [aside for aside in every if filled.fits(n_all, aside)]
    assert filled.fits(n_all, found)
    assert host_bytes(filled, found) == min(host_bytes(filled, aside) for aside in fitting)


def test_the_matrices_that_a_token_passes_last_leave_first():
    spec = specs.moe()
    found = {
        matrices
        for tenths in range(40, 180, 3)
        for _, matrices in fewest_experts(filling(spec, tenths / 10), spec.n_layers + 1).parts
    }
    assert found == {DOWN, GATE_DOWN}


def test_one_matrix_may_be_all_that_leaves():
    spec = specs.moe()
    card_gib = first(lambda n: filling(spec, n / 100).fits(spec.n_layers + 1, Aside()), 1, 6400)
    # With op_offload the copy for prompts would take as much room as a matrix.
    tight = filling(spec, (card_gib - 1) / 100, op_offload=False)
    found = fewest_experts(tight, spec.n_layers + 1)
    assert found == Aside(0, (ExpertPart(0, DOWN),))


def test_where_one_card_ends_the_next_layer_is_cut_too():
    """Of what two cards have left over, each may hold a matrix or two."""
    spec = catalog.spec(catalog.find("gpt-oss:120b"), "MXFP4")
    filled, n_all = filling(spec, 24, 24), spec.n_layers + 1
    found = fewest_experts(filled, n_all)
    border = found.parts[-1]
    assert border.layer > found.n_layers
    assert filled.fits(n_all, found)
    alone = [Aside(found.n_layers + 1), *(found_at(found.n_layers, m) for m in (DOWN, GATE_DOWN))]
    assert not any(filled.fits(n_all, aside) for aside in alone)


def found_at(il: int, matrices: tuple[str, ...]) -> Aside:
    return Aside(il, (ExpertPart(il, matrices),))


@pytest.mark.parametrize("cards", [(8, 8), (12, 6), (6, 6, 6), (10, 4, 4)])
def test_over_several_cards_everything_still_fits_and_nothing_is_cut_twice(cards):
    spec = specs.moe()
    filled, n_all = filling(spec, *cards), spec.n_layers + 1
    found = fewest_experts(filled, n_all)
    layers = [part.layer for part in found.parts]
    assert filled.fits(n_all, found)
    assert layers == sorted(set(layers))
    assert all(il >= found.n_layers for il in layers)
    whole = first(lambda n: filled.fits(n_all, Aside(n)), 0, spec.n_layers)
    assert host_bytes(filled, found) <= host_bytes(filled, Aside(whole))


def test_experts_of_one_matrix_for_gate_and_up_are_cut_before_the_last():
    spec = fused(specs.moe())
    found = [
        fewest_experts(filling(spec, tenths / 10), spec.n_layers + 1)
        for tenths in range(40, 180, 5)
    ]  # fmt: skip
    assert {part.matrices for aside in found for part in aside.parts} == {DOWN}


def fused(spec):
    """With gate and up in one tensor, as newer files have them."""

    def layer(old):
        tensors = [t for t in old.tensors if t.expert_matrix not in ("gate", "up")]
        n_bytes = old.matrices_bytes(("gate", "up"))
        shape = next(t.shape for t in old.tensors if t.expert_matrix == "up")
        both = LayerTensor("ffn_gate_up_exps.weight", (shape[0], 2 * shape[1], shape[2]), n_bytes)
        return replace(old, tensors=(*tensors, both))

    return replace(spec, layers=tuple(map(layer, spec.layers)))
