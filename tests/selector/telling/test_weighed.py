"""Reasons are what weighed, and not what would usually have."""

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.models.known import catalog
from edgellm.probe.known.boards import hardware_from_board
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal, Plan

PROFILES = load_profiles()


def plan_of(model, hardware, **goal) -> Plan:
    entry = catalog.find(model)
    quants = catalog.plannable_quants(entry)
    files = [specs.candidate(catalog.spec(entry, quant)) for quant in quants]
    if isinstance(hardware, str):
        hardware = hardware_from_board(hardware)
    return choose(hardware, files, Goal(**goal), PROFILES)


def where(plan: Plan) -> str:
    return next(why for why in plan.reasons if " layers " in why or why.startswith("all on"))


@pytest.mark.parametrize(
    ("board", "goal", "why"),
    [
        ("rtx4090", {"n_gpu_layers": 0}, "-ngl 0 asks for it"),
        ("rtx4090", {"max_watts": 100}, "more than the 100 W that --max-watts leaves"),
        ("m4-16", {"objective": "quality"}, "with an accelerator it does not fit"),
    ],
)
def test_all_is_on_the_cpu_for_the_reason_that_keeps_it_there(board, goal, why):
    plan = plan_of("qwen3:8b", board, **goal)
    assert plan.devices == ()
    assert why in where(plan)


def test_the_cpu_is_called_the_quickest_only_where_it_is():
    slow_card = plan_of("qwen3:8b", machine((24, 20), ram=64, ram_bandwidth=100))
    assert where(slow_card) == "all on the CPU: it is the quickest"

    late = plan_of("gpt-oss:120b", "l40s", op_offload=True, n_ubatch=512)
    assert late.devices == ()
    assert "with NVIDIA L40S it would decode" in where(late)
    assert f"not {late.ttft_s.p50:.1f} s" in where(late)


def test_layers_that_a_pin_leaves_to_the_cpu_are_not_said_to_find_no_room():
    assert "10 of 37 layers" in (said := where(plan_of("qwen3:8b", "rtx4090", n_gpu_layers=10)))
    assert "as -ngl 10 asks" in said
    assert "which hold no more" in where(plan_of("llama3.3:70b", "rtx4090"))


def test_speed_with_a_loss_that_is_too_much_is_not_called_acceptable():
    plan = plan_of("mixtral:8x7b", "gtx1070", objective="speed")
    assert "none has an acceptable loss, at most 0.12 (KLD 0.26" in plan.reasons[0]
    assert plan.decode_tok_s.p50 >= plan_of("mixtral:8x7b", "gtx1070").decode_tok_s.p50
    small = plan_of("qwen3:8b", "gtx1070", objective="speed")
    assert "is the fastest with an acceptable loss" in small.reasons[0]


def test_what_decodes_faster_on_more_devices_is_told_by_what_it_takes():
    fast = machine((24, 900), (24, 900), ram=64)
    plan = plan_of("qwen3:8b", fast, split_mode=None, use="agent")
    rows = [row for row in plan.rejected if row.decode_tok_s]
    faster = [row for row in rows if row.decode_tok_s.p50 > 1.05 * plan.decode_tok_s.p50]
    assert faster
    assert not any(row.binding.endswith("is no better") for row in faster)


def test_cells_of_ones_own_are_said_where_one_pool_was_wished_for():
    def told(**pins):
        plan = plan_of("qwen3:30b-a3b", "3060+gtx1070", n_parallel=16, **pins)
        return plan, any("cells of its own" in why for why in plan.reasons)

    plan, is_said = told()
    assert is_said
    assert not plan.kv_unified
    assert plan.prefix_ram_bytes == 0
    pooled, is_said = told(kv_unified=True)
    assert not is_said
    assert pooled.kv_unified
    assert pooled.prefix_ram_bytes > 0
    assert not told(kv_unified=False)[1]


def test_what_two_alike_cannot_do_for_one_reason_is_told_once():
    plan = plan_of("qwen3:8b", hardware_from_board("ascend-310p"))
    told = [row.binding for row in plan.rejected if "no kernel there" in row.binding]
    assert len(told) == 1
    assert told[0].count("Ascend 310P3") == 1


def test_paces_that_look_alike_are_not_called_slower():
    entry = catalog.find("qwen3:8b")
    file = specs.candidate(catalog.spec(entry, "F16"))
    plan = choose(hardware_from_board("ascend-310p"), [file], Goal(), load_profiles())
    (why,) = (reason for reason in plan.reasons if "is left out" in reason)
    assert "it would decode as fast, " in why
    assert "instead of" not in why
