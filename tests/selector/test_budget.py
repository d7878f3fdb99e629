from dataclasses import replace

from selector_machines import machine, unified

from edgellm.selector.budget import device_limit_bytes, free_bytes, pool_budgets
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


def test_a_mac_limits_the_gpu_and_not_the_cpu():
    hardware = unified(64)
    budgets = pool_budgets(hardware)
    assert device_limit_bytes(hardware, hardware.devices[0], budgets) == 48 * GIB
    assert budgets["host"] > 60 * GIB
