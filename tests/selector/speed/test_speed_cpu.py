"""What the CPU takes for prompts, pools and types."""

from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine
from selector_speeds import SHAPE, decode, on_cpu, prefill, with_bandwidths, zen5_core

from edgellm.models.known import catalog
from edgellm.probe.known.boards import hardware_from_board
from edgellm.selector.plan import Placement, Share


def prompts_on(board: str, *quants: str) -> list[float]:
    entry, machine = catalog.find("qwen3:8b"), hardware_from_board(board)
    specs_ = [catalog.spec(entry, quant) for quant in quants]
    return [prefill(spec, machine, on_cpu(spec)).p50 for spec in specs_]


@pytest.mark.parametrize("board", ["rpi5", "m4-16"])
def test_on_arm_prompts_go_by_what_llama_cpp_repacks_there(board):
    """llama.cpp PRs 18096 and 18888, qwen3 8B on an M4 Max: Q8_0 160, Q4_K_M 106, Q6_K 95 tok/s,
    43 before it was repacked."""
    q8, q4, q5, q6, q3 = prompts_on(board, "Q8_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q3_K_M")
    assert q8 > q4 > max(q5, q6)
    assert q4 / q6 == pytest.approx(106 / 95, rel=0.2)
    assert min(q5, q6) > 1.5 * q3, "nothing repacks q3_K"


def test_on_x86_it_is_another_order():
    zen5 = replace(hardware_from_board("rpi5"), cpu=zen5_core().cpu)
    rates = []
    for quant in ("Q5_K_M", "Q4_K_M", "Q8_0"):
        spec = catalog.spec(catalog.find("qwen3:8b"), quant)
        rates.append(prefill(spec, zen5, on_cpu(spec)).p50)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("n_rows", "flash", "plain"),
    # ms that 1000 more cells for each of so many streams add to a step, nothing shared, one pool
    [(1, 41, 26), (4, 217, 79), (8, 607, 364)],
)
def test_a_pool_of_strangers_on_the_cpu_takes_as_long_as_measured(n_rows, flash, plain):
    spec, core = catalog.spec(catalog.find("qwen3:0.6b"), "Q4_0"), zen5_core()
    for is_flash, measured_ms in ((True, flash), (False, plain)):
        shape = replace(SHAPE, n_seq_max=n_rows, flash_attention=is_flash)
        near_s, far_s = (
            n_rows / decode(spec, core, on_cpu(spec), shape=shape, depth=n, n_streams=n_rows).p50
            for n in (500, 1500)
        )
        assert 1000 * (far_s - near_s) == pytest.approx(measured_ms, rel=0.4)


def test_others_cells_cost_only_in_a_pool():
    spec, core = catalog.spec(catalog.find("qwen3:0.6b"), "Q4_0"), zen5_core()
    facts = {"depth": 1000, "n_streams": 8}
    for is_flash in (True, False):
        shape = replace(SHAPE, n_seq_max=8, flash_attention=is_flash)
        apart = replace(shape, kv_unified=False)
        pool = decode(spec, core, on_cpu(spec), shape=shape, **facts)
        assert pool.p50 < 0.8 * decode(spec, core, on_cpu(spec), shape=apart, **facts).p50


def test_of_a_cpu_that_nobody_measured_plain_attention_is_as_its_familys():
    spec, hardware = specs.dense(), with_bandwidths(machine(), 50)
    arm = replace(hardware, cpu=replace(hardware.cpu, isa=("neon", "dotprod", "i8mm")))
    plain = replace(SHAPE, flash_attention=False)
    flash_s, plain_s = (
        1 / decode(spec, arm, on_cpu(spec), shape=shape, depth=16384).p50
        for shape in (SHAPE, plain)
    )
    assert plain_s == pytest.approx(flash_s, rel=0.05)


def test_types_that_are_slow_to_unpack_are_slow_on_the_cpu():
    spec = specs.dense()
    cpu = with_bandwidths(machine(), 50)
    placement = Placement((Share("cpu", "host", tuple(range(33)), 0, 0, 0),), 0)
    table = tuple(replace(row, type="iq3_s") for row in spec.types)
    smaller = tuple(replace(x, weight_bytes=int(x.weight_bytes * 0.75)) for x in spec.layers)
    packed = replace(spec, layers=smaller, types=table, name="iq3_s")
    assert decode(packed, cpu, placement).p50 < 0.7 * decode(spec, cpu, placement).p50


def test_more_cores_help_until_memory_is_the_limit():
    spec = specs.dense()
    placement = Placement((Share("cpu", "host", tuple(range(33)), 0, 0, 0),), 0)
    machines = [with_bandwidths(machine(), 60)] * 3
    rates = []
    for hardware, n_cores in zip(machines, (1, 4, 16), strict=True):
        cpu = replace(hardware.cpu, n_physical_cores=n_cores)
        rates.append(decode(spec, replace(hardware, cpu=cpu), placement).p50)
    assert rates[1] > 2 * rates[0]
    assert rates[2] < 2 * rates[1]
