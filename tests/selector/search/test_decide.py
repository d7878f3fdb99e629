"""What is tried when the usual caches and micro-batches come to little."""

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.models.known import catalog
from edgellm.probe.known.boards import hardware_from_board
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.placing.machine import Machine
from edgellm.selector.plan import Goal
from edgellm.selector.search import decide as decide_module
from edgellm.selector.search.decide import Decision, decide
from edgellm.selector.search.question import Question

PROFILES = load_profiles()


def decision(hardware, candidates, **goal) -> Decision:
    described = Machine(hardware, pool_budgets(hardware), PROFILES.speed)
    found = decide(Question.of(described, Goal(**goal), PROFILES), candidates)
    assert isinstance(found, Decision)
    return found


def files(model):
    entry = catalog.find(model)
    quants = catalog.plannable_quants(entry)
    return [specs.candidate(catalog.spec(entry, quant)) for quant in quants]


@pytest.mark.parametrize("objective", ["balanced", "speed"])
def test_a_coarse_cache_on_the_accelerator_is_tried_where_a_usual_one_leaves_it_idle(objective):
    hardware, candidates = hardware_from_board("jetson-orin-nano"), files("qwen3:8b")
    plan = choose(hardware, candidates, Goal(objective=objective), PROFILES)
    on_cpu = choose(hardware, candidates, Goal(objective=objective, n_gpu_layers=0), PROFILES)
    assert len(plan.devices) == 1
    assert any("with the usual caches and micro-batches" in reason for reason in plan.reasons)
    assert plan.decode_tok_s.p50 > 2 * on_cpu.decode_tok_s.p50
    assert plan.ttft_s.p50 < on_cpu.ttft_s.p50 / 2


def test_what_is_best_on_the_cpu_stays_there_with_a_usual_cache():
    for hardware, goal in (
        (machine(ram=64), {}),
        (machine((0.4, 900), ram=64), {}),
        (machine((24, 900), ram=64), {"n_gpu_layers": 0}),
        (hardware_from_board("jetson-orin-nano"), {"objective": "quality"}),
    ):
        found = decision(hardware, files("qwen3:8b"), **goal)
        assert found.chosen.placement.device_ids == ()
        assert found.resort is None
        assert found.chosen.setting.kv_type_k in ("f16", "q8_0")


def test_a_usual_cache_on_the_accelerator_is_not_given_up_for_a_coarse_one():
    found = decision(machine((24, 900), ram=64), files("qwen3:8b"))
    assert found.chosen.placement.device_ids == ("gpu0",)
    assert found.resort is None


@pytest.mark.parametrize(
    ("board", "model"), [("m2-24", "qwen3:8b"), ("m3-max-64", "qwen3:32b"), ("m2-24", "qwen3:4b")]
)
def test_the_smaller_micro_batch_of_one_file_makes_no_other_one_win(board, model, monkeypatch):
    hardware = hardware_from_board(board)
    with monkeypatch.context() as untrimmed:
        untrimmed.setattr(decide_module, "take_smaller_micro_batch", lambda search: None)
        best = decision(hardware, files(model)).chosen
    taken = decision(hardware, files(model)).chosen
    assert taken.candidate.quant == best.candidate.quant
    assert taken.setting.n_ubatch <= best.setting.n_ubatch
