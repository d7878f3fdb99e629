from collections.abc import Sequence
from itertools import pairwise

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.profiles import load_profiles
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.memory.layout import NOTHING_ASIDE, Aside
from edgellm.selector.memory.load import Bulk, take
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.memory.shares import Ways
from edgellm.selector.placing.filling import Filling
from edgellm.selector.placing.machine import Machine
from edgellm.selector.placing.split import fill_order

SHAPE = ContextShape(8192, n_seq_max=1, n_ubatch=512, n_outputs_max=1)


def filling(spec, cards: Sequence[tuple[float, float]], ways: Ways) -> Filling:
    hardware = machine(*cards, ram=512)
    described = Machine(hardware, pool_budgets(hardware), load_profiles().speed)
    order = tuple(fill_order(described, hardware.accelerators))
    return Filling(Bulk.of(spec).load(SHAPE), described, order, ways)


def is_held(filled: Filling, n_layers: int, aside: Aside) -> bool:
    """All of these layers are arranged, and no device has more than it may be filled to."""
    found, totals = filled.arranged(n_layers, aside), filled.load.totals(aside)
    rooms = {
        device: filled.machine.room_bytes(device) - filled.machine.overhead_bytes(device) - buffer
        for device, buffer in zip(found.devices, found.buffers, strict=False)
    }
    runs = dict(zip(found.devices, found.layout.layers, strict=True))
    return all(totals[run.stop] - totals[run.start] <= rooms[one] for one, run in runs.items())


@pytest.mark.parametrize("ways", [Ways(), Ways(split_mode="tensor")])
@pytest.mark.parametrize(
    "cards", [[(6, 900)], [(5, 900)] * 3, [(4, 1800), (6, 900), (6, 900)], [(2, 900), (9, 300)]]
)
def test_what_fits_is_arranged_within_the_rooms_and_what_does_not_is_not(cards, ways):
    spec = specs.moe()
    filled = filling(spec, cards, ways)
    asides = [NOTHING_ASIDE, *(Aside(n) for n in (spec.n_layers // 2, spec.n_layers))]
    seen = set()
    for n_layers in range(1, spec.n_layers + 2):
        for aside in asides:
            fits = filled.fits(n_layers, aside)
            assert fits == is_held(filled, n_layers, aside), (n_layers, aside)
            seen.add(fits)
    assert seen == {True, False}


def test_equal_devices_are_filled_to_one_level():
    filled = filling(specs.dense(), [(12, 900)] * 3, Ways())
    runs = filled.arranged(filled.load.n_all, NOTHING_ASIDE).layout.layers
    totals = filled.load.totals()
    assert len(runs) == 3
    held = [totals[run.stop] - totals[run.start] for run in runs]
    layer_bytes = max(b - a for a, b in pairwise(totals))
    assert max(held) - min(held) <= 2 * layer_bytes


def test_runs_go_downwards_and_a_room_too_small_gets_none():
    totals = [0, 10, 20, 30, 60]  # the head is the largest
    assert take(totals, [5, 30, 100], stop=4, floor=1) == [range(4, 4), range(3, 4), range(1, 3)]
    assert take(totals, [30, -1], stop=4, floor=0) == [range(3, 4), range(3, 3)]


def test_runs_go_upwards_as_well():
    totals = [0, 10, 20, 30, 60]
    assert take(totals, [5, 20, 100], 4, 1, True) == [range(1, 1), range(1, 3), range(3, 4)]
    assert take(totals, [30, -1, 29], 4, 0, True) == [range(3), range(3, 3), range(3, 3)]


def test_from_below_as_many_layers_find_room_as_from_the_head():
    """But for the head itself, which is larger than a layer."""
    spec = specs.llama_70b()
    fast_last = filling(spec, [(12, 900), (8, 300)], Ways())
    even = filling(spec, [(12, 900), (8, 900)], Ways())

    def most(filled: Filling) -> int:
        return max(n for n in range(spec.n_layers + 2) if filled.fits(n, NOTHING_ASIDE))

    assert 0 <= most(even) - most(fast_last) <= 1
