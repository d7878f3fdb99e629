"""The search finds what trying everything would find."""

from dataclasses import replace
from random import Random

import pytest
import selector_specs as specs
from selector_machines import machine, unified

from edgellm.models.known import catalog
from edgellm.profiles import load_profiles
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.placing.machine import Machine
from edgellm.selector.plan import Goal
from edgellm.selector.search.options import Miss, Option
from edgellm.selector.search.question import Question
from edgellm.selector.search.search import Search
from edgellm.selector.search.settings import settings
from edgellm.selector.search.variants import refine

PROFILES = load_profiles()
MODELS = (
    specs.dense(quant="Q4_K_M"),
    specs.llama_70b("Q4_K_M"),
    specs.moe(quant="Q4_K_M"),
    specs.gemma3_27b("Q4_K_M"),
)


def search_of(spec, hardware, goal) -> Search:
    described = Machine(hardware, pool_budgets(hardware, goal.reserve_bytes), PROFILES.speed)
    return Search(Question.of(described, goal, PROFILES), specs.candidate(spec))


def everything(search: Search):
    """Every context on every choice of devices, exactly added up."""
    question = search.question
    workload = PROFILES.workload(question.goal.use)
    for setting in settings(search.spec, question.goal, workload):
        for devices in question.sets:
            yield search.look(setting, devices, question.ways(devices), exactly=True)


def random_machine(random: Random):
    if random.random() < 0.2:
        return unified(random.choice([16, 64]), random.choice([100, 400]))
    cards = [
        (random.choice([4, 8, 12, 24, 48]), random.choice([250, 500, 936]))
        for _ in range(random.choice([0, 1, 2, 2, 3]))
    ]
    return machine(*cards, ram=random.choice([16, 64, 128]))


@pytest.mark.parametrize("seed", range(12))
def test_no_placement_is_better_than_the_one_that_the_search_ends_with(seed):
    random = Random(seed)
    for _ in range(2):
        goal = Goal(
            use=random.choice(["chat", "stream", "batch"]),
            objective=random.choice(["speed", "quality", "context", "balanced", "energy"]),
        )
        search = search_of(random.choice(MODELS), random_machine(random), goal)
        question = search.question
        ranks = [
            question.rank(found.merit) for found in everything(search) if isinstance(found, Option)
        ]
        best = search.run().best
        assert (best is None) == (not ranks)
        if best:
            assert question.rank(best.merit) >= max(ranks), (goal, best)


def test_the_search_looks_at_a_part_of_what_there_is():
    search = search_of(specs.dense(), machine((24, 900), (12, 500)), Goal())
    search.run()
    assert len(search.options) + len(search.misses) < 0.2 * len(list(everything(search)))


@pytest.mark.parametrize("use", ["chat", "agent", "batch"])
def test_who_wants_the_answer_alone_gets_the_same_one_for_less(use):
    random = Random(7)
    n_tried = {False: 0, True: 0}
    for _ in range(3):
        spec, hardware = random.choice(MODELS), random_machine(random)
        answers = []
        for only_best in n_tried:
            search = search_of(spec, hardware, Goal(use=use))
            search.question = replace(search.question, only_best=only_best)
            refine(search.run())
            n_tried[only_best] += len(search.options) + len(search.misses)
            answers.append(search.best and (search.best.setting, search.best.placement))
        assert answers[0] == answers[1]
    assert n_tried[True] < n_tried[False]


@pytest.mark.parametrize("spec", MODELS)
def test_a_pace_that_no_placement_keeps_is_tried_once_where_nobody_asks_by_how_much(spec):
    hardware = machine((24, 900), (12, 500), ram=512)
    n_tried = []
    for min_tok_s in (1000.0, 1.0):
        search = search_of(spec, hardware, Goal(min_tok_s=min_tok_s))
        search.question = replace(search.question, only_best=True)
        search.run()
        n_tried.append(len(search.options) + len(search.misses))
        assert bool(search.best) is (min_tok_s == 1.0)
    assert n_tried[0] == 1


def test_no_placement_is_ahead_of_its_bound():
    random = Random(3)
    for _ in range(6):
        goal = Goal(use=random.choice(["chat", "agent", "batch"]))
        search = search_of(random.choice(MODELS), random_machine(random), goal)
        question = search.question
        for setting in settings(search.spec, goal, question.workload):
            for devices in question.sets:
                found = search.look(setting, devices, question.ways(devices))
                if isinstance(found, Option):
                    bound = search.bound(setting, devices, found.ways)
                    assert question.rank(found.merit)[:-1] <= bound[:-1], (setting, devices)


# The second of two gets nothing by the split; of eight that are too many for every choice of them,
# every other one has no room.
IDLE = (
    (machine((80, 900), (80, 500)), {"tensor_split": (1.0, 1e-6)}),
    (machine(*((1 if i % 2 else 24, 1000 - 50 * i) for i in range(8))), {}),
)


@pytest.mark.parametrize("objective", ["balanced", "energy"])
@pytest.mark.parametrize(("hardware", "pins"), IDLE)
def test_what_leaves_devices_idle_is_not_ahead_of_its_bound_either(hardware, pins, objective):
    devices = tuple(replace(device, board_power_w=300.0) for device in hardware.accelerators)
    hardware = replace(hardware, devices=(*devices, *hardware.devices[len(devices) :]))
    goal = Goal(use="batch", objective=objective, **pins)
    search = search_of(specs.llama_70b("Q4_K_M"), hardware, goal)
    question, n_idle = search.question, 0
    for setting in settings(search.spec, goal, question.workload):
        for some in question.sets:
            found = search.look(setting, some, question.ways(some))
            if isinstance(found, Option):
                n_idle += len(found.placement.device_ids) < len(some)
                assert question.rank(found.merit) <= search.bound(setting, some, found.ways)
    assert n_idle


def test_a_pool_and_streams_of_ones_own_are_not_taken_for_one_another():
    """Asked one after the other, they have the paces that each has alone."""

    def asked(search, setting):
        found = search.look(setting, (), search.question.ways(()))
        return found.pace.batch, search.bound_if_first_by(0.0, setting, ())

    def fresh():
        return search_of(spec, replace(hardware, cpu=cpu), goal)

    spec, hardware = catalog.spec(catalog.find("qwen3:0.6b"), "Q4_0"), machine(ram=64)
    cpu = replace(hardware.cpu, n_physical_cores=1, isa=("avx2", "avx512f", "avx512_vnni"))
    goal = Goal(use="batch", n_parallel=8)
    first = next(iter(settings(fresh().spec, goal, PROFILES.workload("batch"))))
    both = [replace(first, kv_unified=pooled, n_scratch=0) for pooled in (True, False)]
    alone = [asked(fresh(), setting) for setting in both]
    search = fresh()

    assert [asked(search, setting) for setting in both] == alone
    assert alone[0][0] != alone[1][0]
    assert alone[0][1] != alone[1][1]


def test_the_best_is_added_up_exactly():
    search = search_of(specs.llama_70b(), machine((24, 900), (24, 900)), Goal()).run()
    best = search.best
    devices = tuple(d for d in search.question.accelerators if d.id in best.placement.device_ids)
    again = search.look(best.setting, devices, best.ways, exactly=True)
    assert best.placement == again.placement


def test_what_is_too_slow_is_a_miss_that_says_so():
    search = search_of(specs.llama_70b(), machine(ram=64), Goal(min_tok_s=10))
    search.run()
    assert search.best is None
    miss = min(search.misses, key=lambda miss: miss.distance)
    assert "--min-tok-s asks for 10" in miss.why.sentence
    assert miss.distance[0] == 0


def test_an_unknown_architecture_has_a_wide_range():
    known = specs.dense()
    strange = replace(known, architecture="mamba9", name="strange")
    ranges = []
    for spec in (known, strange):
        best = search_of(spec, machine((24, 900)), Goal()).run().best
        ranges.append(best.pace.decode)
    assert ranges[1].p50 == pytest.approx(ranges[0].p50)
    assert ranges[1].p90 / ranges[1].p10 > 4 * ranges[0].p90 / ranges[0].p10


def test_pins_leave_fewer_sets_of_devices():
    two = machine((24, 900), (24, 500))

    def sets(**pins):
        return search_of(specs.dense(), two, Goal(**pins)).question.sets

    assert () in sets()
    assert () not in sets(n_gpu_layers=-1)
    assert sets(n_gpu_layers=0) == ((),)
    assert [len(some) for some in sets(split_mode="tensor")] == [2]
    (only,) = sets(tensor_split=(0.0, 1.0))
    assert [device.id for device in only] == ["gpu1"]


def test_a_miss_that_nearly_fits_is_nearer():
    search = search_of(specs.llama_70b("F16"), machine((24, 900), ram=32), Goal())
    search.run()
    assert search.misses
    assert all(isinstance(miss, Miss) for miss in search.misses)
    nearest = min(search.misses, key=lambda miss: miss.distance)
    assert nearest.why.missing_bytes == min(miss.why.missing_bytes for miss in search.misses)
