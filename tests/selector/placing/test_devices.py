from dataclasses import replace

from selector_machines import machine, unified

from edgellm.profiles import load_profiles
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.placing.devices import device_sets, usable_accelerators, within_watts
from edgellm.selector.placing.machine import Machine
from edgellm.selector.power import power_w


def sets_of(hardware) -> list[list[str]]:
    described = Machine(hardware, pool_budgets(hardware), load_profiles().speed)
    found = device_sets(described, usable_accelerators(hardware))
    return [[device.id for device in some] for some in found]


def named(hardware, *names: str):
    """The same machine with its cards called by names."""
    cards = tuple(
        replace(device, name=name) for device, name in zip(hardware.devices, names, strict=False)
    )
    return replace(hardware, devices=(*cards, *hardware.devices[len(names) :]))


def with_watts(hardware, *watts: float | None):
    cards = tuple(
        replace(device, board_power_w=limit)
        for device, limit in zip(hardware.devices, watts, strict=False)
    )
    return replace(hardware, devices=(*cards, *hardware.devices[len(watts) :]))


def test_of_cards_that_are_alike_only_the_number_counts():
    hardware = named(machine(*[(24, 936)] * 4), *["RTX 3090"] * 4)
    assert sets_of(hardware) == [
        ["gpu0"], ["gpu0", "gpu1"], ["gpu0", "gpu1", "gpu2"], ["gpu0", "gpu1", "gpu2", "gpu3"]
    ]  # fmt: skip


def test_the_roomiest_of_the_alike_comes_first():
    hardware = named(machine((22, 936), (24, 936)), "RTX 3090", "RTX 3090")
    assert sets_of(hardware) == [["gpu1"], ["gpu0", "gpu1"]]


def test_of_different_cards_every_combination_is_one():
    found = sets_of(machine((24, 1000), (12, 500), (8, 250)))
    assert len(found) == 7
    assert found[:3] == [["gpu0"], ["gpu1"], ["gpu2"]]
    assert found[-1] == ["gpu0", "gpu1", "gpu2"]


def test_many_kinds_are_taken_by_speed_and_one_by_one():
    found = sets_of(machine(*[(24, 100.0 + 10 * i) for i in range(8)]))
    assert len(found) < 30
    assert ["gpu7"] in found
    assert ["gpu6", "gpu7"] in found
    assert [f"gpu{i}" for i in range(8)] in found


def test_graphics_inside_the_cpu_stay_out_beside_a_card():
    hardware = machine((24, 1000))
    inside = replace(hardware.devices[0], id="igpu", pool_id="host", backend="vulkan")
    both = replace(hardware, devices=(hardware.devices[0], inside, hardware.devices[1]))
    assert sets_of(both) == [["gpu0"]]
    assert sets_of(unified()) == [["gpu0"]]


def test_a_limit_of_watts_leaves_boards_out():
    hardware = with_watts(machine((24, 1000), (24, 900)), 450, 350)
    sets = device_sets(
        Machine(hardware, pool_budgets(hardware), load_profiles().speed), hardware.accelerators
    )
    kept = within_watts(hardware, sets, 400)
    assert [[device.id for device in some] for some in kept] == [["gpu1"]]
    assert within_watts(hardware, sets, None) == sets


def test_what_says_nothing_about_power_is_kept_and_sums_to_unknown():
    hardware = with_watts(machine((24, 1000), (24, 900)), None, 350)
    assert power_w(hardware, ["gpu0", "gpu1"]) is None
    assert power_w(hardware, ["gpu1"]) == 350
    assert power_w(hardware, []) is None
