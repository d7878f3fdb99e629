from dataclasses import replace

import selector_specs as specs
from selector_machines import machine

from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.placing.machine import Machine
from edgellm.selector.plan import Goal
from edgellm.selector.replicas import best_replicas
from edgellm.selector.search.question import Question
from edgellm.selector.search.search import Search

PROFILES = load_profiles()
BATCH = Goal(use="batch")


def replicas_of(spec, hardware, goal=BATCH):
    described = Machine(hardware, pool_budgets(hardware), PROFILES.speed)
    search = Search(Question.of(described, goal, PROFILES), specs.candidate(spec)).run()
    return best_replicas(search, search.best.setting)


def alike(n: int, size: float = 24, ram: float = 128):
    hardware = machine(*[(size, 936)] * n, ram=ram)
    cards = tuple(replace(device, name="RTX 3090") for device in hardware.accelerators)
    return replace(hardware, devices=(*cards, hardware.devices[-1]))


def test_a_small_model_runs_a_copy_on_each_card():
    found = replicas_of(specs.dense(), alike(4))
    assert (found.n_replicas, found.n_devices_each) == (4, 1)
    assert found.tok_s.p10 < found.tok_s.p50 < found.tok_s.p90


def test_a_large_model_takes_two_cards_for_each_copy():
    found = replicas_of(specs.llama_70b(), alike(4))
    assert (found.n_replicas, found.n_devices_each) == (2, 2)


def test_what_no_part_of_the_cards_holds_has_no_replicas():
    assert replicas_of(specs.llama_70b(), alike(2)) is None
    assert replicas_of(specs.dense(), alike(1)) is None


def test_different_cards_have_none():
    assert replicas_of(specs.dense(), machine((24, 936), (24, 500))) is None


def test_they_are_advice_and_the_plan_stays_one():
    plan = choose(alike(4), [specs.candidate(specs.dense())], BATCH, PROFILES)
    assert plan.n_replicas == 1
    said, how = [why for why in plan.reasons if "replicas" in why]
    assert "4 replicas on one card each would give" in said
    assert "takes as many servers" in said
    assert "`CUDA_VISIBLE_DEVICES=0 edgellm serve " in how
    assert "`CUDA_VISIBLE_DEVICES=1 edgellm serve " in how
    assert "--port 8081`" in how
    assert "--port 8082`, and so on" in how


def test_their_commands_pin_the_copy_that_was_compared():
    catalogs = replace(
        specs.candidate(specs.dense()), name="qwen3:8b", quant="Q8_0", source="hf.co/Qwen/Qwen3-8B"
    )
    goal = replace(BATCH, objective="speed")
    found = replicas_of(specs.dense(), alike(4), goal)
    plan = choose(alike(4), [catalogs], goal, PROFILES)
    (how,) = [why for why in plan.reasons if "replicas are started" in why]
    setting = found.option.setting
    assert (
        f"edgellm serve qwen3:8b-q8_0 --use batch --goal speed --parallel {setting.n_parallel} "
        f"--ctx {setting.n_ctx_seq} -ctk {setting.kv_type_k} -ctv {setting.kv_type_v} "
        f"-ub {setting.n_ubatch} --port 8081`"
    ) in how


def test_a_local_file_is_named_by_its_path():
    local = replace(specs.candidate(specs.dense()), file="/models/x.gguf", source="/models")
    plan = choose(alike(4), [local], BATCH, PROFILES)
    assert any("edgellm serve /models/x.gguf --use batch" in why for why in plan.reasons)


def test_nobody_asks_for_throughput_and_nothing_is_said():
    plan = choose(alike(4), [specs.candidate(specs.dense())], Goal(), PROFILES)
    assert not any("replicas" in why for why in plan.reasons)
