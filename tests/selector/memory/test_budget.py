from dataclasses import replace

import pytest
from selector_machines import machine, unified

from edgellm.selector.memory.budget import device_limit_bytes, free_bytes, pool_budgets
from edgellm.units import GIB, MIB


def test_a_card_keeps_two_percent_or_256_mib():
    budgets = pool_budgets(machine((8, 1), (80, 1)))
    assert 8 * GIB - budgets["gpu0"] == 256 * MIB
    assert 80 * GIB - budgets["gpu1"] == 80 * GIB // 50


def test_the_host_keeps_five_percent_within_bounds():
    assert 64 * GIB - pool_budgets(machine(ram=64))["host"] == 64 * GIB // 20
    assert 512 * GIB - pool_budgets(machine(ram=512))["host"] == 4 * GIB


def test_a_reserve_never_eats_a_tiny_machine_whole():
    assert pool_budgets(machine(ram=1))["host"] == int(0.75 * GIB)


def test_the_users_reserve_is_left_in_every_pool():
    budgets = pool_budgets(machine((8, 1), ram=16), 3 * GIB)
    assert budgets == {"gpu0": 5 * GIB, "host": 13 * GIB}
    assert pool_budgets(machine(ram=2), 3 * GIB) == {"host": 0}


def test_unknown_free_memory_is_a_part_of_the_total():
    hardware = machine((8, 1), ram=16)
    silent = replace(
        hardware, pools=tuple(replace(pool, free_bytes=None) for pool in hardware.pools)
    )
    card, host = silent.pools
    assert 0 < free_bytes(silent, card) < card.total_bytes
    assert 0 < free_bytes(silent, host) < host.total_bytes


def test_a_cgroups_limit_binds_the_host():
    hardware = machine(ram=64, cgroup_limit_bytes=4 * GIB)
    assert pool_budgets(hardware)["host"] <= 4 * GIB


def test_free_vram_under_wsl_is_taken_with_a_margin():
    assert (
        pool_budgets(machine((8, 1), in_wsl=True))["gpu0"] < pool_budgets(machine((8, 1)))["gpu0"]
    )


def test_host_memory_is_never_without_an_end():
    hardware = machine(ram=64, cgroup_limit_bytes=4 * GIB)
    silent = replace(hardware, pools=(replace(hardware.host, free_bytes=None),))
    assert 0 < pool_budgets(silent)["host"] <= 4 * GIB
    nothing = replace(hardware, pools=(replace(hardware.host, total_bytes=0, free_bytes=None),))
    assert pool_budgets(nothing)["host"] == 0


def test_what_others_use_is_not_there_to_plan_with():
    hardware = machine((24, 1), ram=16)
    card, host = hardware.pools
    busy = replace(hardware, pools=(replace(card, free_bytes=9 * GIB), host))
    assert pool_budgets(busy)["gpu0"] < 9 * GIB


def test_what_is_loaded_beside_the_model_is_taken_off_its_pool():
    hardware = machine((24, 1), ram=16)
    plain = pool_budgets(hardware)
    taken = pool_budgets(hardware, beside={"gpu0": 2 * GIB})
    assert plain["gpu0"] - taken["gpu0"] == 2 * GIB
    assert plain["host"] == taken["host"]
    assert pool_budgets(hardware, beside={"gpu0": 30 * GIB})["gpu0"] == 0


@pytest.mark.parametrize(
    ("total_gib", "limit_gib"), [(16, 32 / 3), (32, 64 / 3), (36, 27), (64, 48), (128, 96)]
)
def test_a_mac_limits_the_gpu_and_not_the_cpu(total_gib: int, limit_gib: float):
    hardware = unified(total_gib)
    budgets = pool_budgets(hardware)
    limit = device_limit_bytes(hardware, hardware.devices[0], budgets)
    assert limit == pytest.approx(limit_gib * GIB)
    assert budgets["host"] > 0.9 * total_gib * GIB


def test_the_limit_that_a_device_tells_goes_before_the_rule_of_thumb():
    hardware = unified(64)
    gpu, cpu = hardware.devices
    raised = replace(gpu, memory_limit_bytes=60 * GIB)
    hardware = replace(hardware, devices=(raised, cpu))
    budgets = pool_budgets(hardware)
    assert device_limit_bytes(hardware, raised, budgets) == 60 * GIB
    assert device_limit_bytes(hardware, raised, {"host": GIB}) == GIB


def test_an_integrated_gpus_own_limit_holds_whatever_the_backend():
    hardware = unified(64, backend="vulkan")
    gpu, cpu = hardware.devices
    limited = replace(gpu, memory_limit_bytes=8 * GIB)
    hardware = replace(hardware, devices=(limited, cpu))
    assert device_limit_bytes(hardware, limited, pool_budgets(hardware)) == 8 * GIB
