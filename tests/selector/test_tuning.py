import random
from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal
from edgellm.selector.tuning import Axis, Knobs, Sample, Trial, axes, fewest_trials, next_step

PROFILES = load_profiles()
CHAT = PROFILES.workload("chat")
START = Knobs(n_threads=8, n_batch=2048, n_ubatch=512, flash_attention=None)
AXES = (
    Axis("n_threads", (1, 2, 4, 6, 8, 12, 16)),
    Axis("flash_attention", (False, None)),
    Axis("n_ubatch", (128, 256, 512, 1024, 4096)),
)


def plan_of(hardware, goal=None, candidates=None):
    return choose(hardware, candidates or specs.ladder(), goal or Goal(), PROFILES)


class Machine:
    """Answers each variation with a speed; `noise_ratio` is how far single samples lie apart."""

    def __init__(self, speed, noise_ratio=0.0, seed=1):
        self.speed, self.noise = speed, noise_ratio
        self.random = random.Random(seed)

    def measure(self, knobs, n_samples=5):
        speed = self.speed(knobs)
        if speed is None:
            return Trial(knobs, (), "out of memory")
        rates = [
            speed * (1 + self.random.uniform(-self.noise, self.noise)) for _ in range(n_samples)
        ]
        return Trial(knobs, tuple(Sample(10 * rate, rate) for rate in rates))


def tune(speed, noise_ratio=0.0, seed=1, axes=AXES, start=START):
    """The winner, and what was measured on the way."""
    machine, trials = Machine(speed, noise_ratio, seed), []
    while (step := next_step(axes, start, trials, CHAT)).next is not None:
        assert len(trials) < 40, "it does not come to an end"
        trials.append(machine.measure(step.next))
    return step.best, trials


def peak_at(n_threads):
    return lambda knobs: 100 - 5 * abs(knobs.n_threads - n_threads)


def test_the_plan_as_it_was_chosen_is_measured_first():
    assert next_step(AXES, START, [], CHAT).next == START


@pytest.mark.parametrize("n_threads", [1, 2, 4, 6, 8, 12, 16])
def test_it_finds_the_peak_of_one_setting(n_threads):
    best, _ = tune(peak_at(n_threads))

    assert best == replace(START, n_threads=n_threads)


def test_it_finds_settings_that_help_together():
    def speed(knobs):
        faster = 1.5 if knobs.flash_attention is False else 1.0
        return faster * (knobs.n_ubatch**0.5 if knobs.n_ubatch <= 1024 else 1)

    best, _ = tune(speed)

    assert (best.flash_attention, best.n_ubatch, best.n_threads) == (False, 1024, 8)


def test_nothing_is_measured_twice_but_the_duel_of_start_and_winner():
    best, trials = tune(peak_at(4))
    measured = [trial.knobs for trial in trials]

    again = {knobs for knobs in measured if measured.count(knobs) > 1}
    assert again == {START, best}


def test_where_nothing_is_faster_the_plan_stays_and_few_are_measured():
    best, trials = tune(lambda knobs: 50.0)

    assert best == START
    assert len(trials) == 6  # the start, two neighbours of threads and micro-batch, one of flash
    assert fewest_trials(AXES, START) == 6


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_never_wins(seed):
    best, _ = tune(lambda knobs: 50.0, noise_ratio=0.1, seed=seed)

    assert best == START


@pytest.mark.parametrize("seed", range(20))
def test_a_clear_gain_is_found_through_noise(seed):
    def speed(knobs):
        return 80.0 if knobs.n_threads <= 6 else 50.0

    best, _ = tune(speed, noise_ratio=0.05, seed=seed)

    assert best.n_threads <= 6


def test_what_can_not_be_loaded_is_left_alone():
    def speed(knobs):
        return None if knobs.n_ubatch > 512 else 50.0 + knobs.n_ubatch / 100

    best, trials = tune(speed)

    assert best.n_ubatch == 512
    assert [trial.fault for trial in trials if trial.fault] == ["out of memory"]


def test_a_start_that_can_not_be_loaded_gives_way_to_what_can():
    best, _ = tune(lambda knobs: None if knobs == START else 50.0)

    assert best != START


def test_a_micro_batch_never_exceeds_its_batch():
    _, trials = tune(lambda knobs: float(knobs.n_ubatch))

    assert all(trial.knobs.n_ubatch <= trial.knobs.n_batch for trial in trials)


def test_a_gain_below_three_percent_is_none():
    best, _ = tune(lambda knobs: 102.0 if knobs.flash_attention is False else 100.0)

    assert best == START


def names(plan, goal, hardware):
    return {axis.name for axis in axes(plan, goal, hardware, CHAT)}


def test_on_a_cpu_threads_matter_and_there_is_nothing_to_split():
    hardware = machine(ram=32)

    assert names(plan_of(hardware), Goal(), hardware) == {
        "n_threads", "flash_attention", "n_ubatch", "n_batch",
    }  # fmt: skip


def test_with_all_layers_on_a_card_threads_do_not_matter():
    hardware = machine((24, 1000))

    assert "n_threads" not in names(plan_of(hardware), Goal(), hardware)


def test_over_two_cards_the_split_is_tried_in_both_directions():
    hardware = machine((24, 1000), (24, 1000))
    plan = plan_of(hardware, candidates=specs.ladder(lambda quant: specs.llama_70b(quant)))
    (split,) = [axis for axis in axes(plan, Goal(), hardware, CHAT) if axis.name == "tensor_split"]

    firsts = [value[0] for value in split.values]
    assert firsts == sorted(firsts, reverse=True)
    assert plan.placement.tensor_split in split.values
    assert firsts[0] > plan.placement.tensor_split[0] > firsts[-1]


def test_what_the_user_pinned_is_not_tried():
    hardware = machine(ram=32)
    goal = Goal(n_threads=4, n_ubatch=256, flash_attention=True)

    assert names(plan_of(hardware, goal), goal, hardware) == set()


def test_a_quantized_v_cache_needs_flash_attention():
    hardware = machine(ram=32)
    goal = Goal(kv_type_k="q8_0", kv_type_v="q8_0")

    assert "flash_attention" not in names(plan_of(hardware, goal), goal, hardware)


def test_batches_are_tried_up_to_the_first_that_holds_a_whole_prompt():
    hardware, agent = machine(ram=32), PROFILES.workload("agent")  # 600 and 3000 tokens
    for workload, chosen, sizes, batches in (
        (CHAT, 512, (64, 128, 256, 512, 1024), (512, 2048)),
        (CHAT, 1024, (64, 128, 256, 512, 1024), (512, 2048)),
        (CHAT, 2048, (64, 128, 256, 512, 2048), (512, 2048)),
        (agent, 1024, (64, 128, 256, 512, 1024, 2048, 4096), (512, 1024, 2048, 4096)),
    ):
        plan = replace(plan_of(hardware), n_ubatch=chosen, n_batch=2048)
        found = {axis.name: axis.values for axis in axes(plan, Goal(), hardware, workload)}
        assert (found["n_ubatch"], found["n_batch"]) == (sizes, batches)


def test_each_start_is_among_its_axis_values():
    for hardware in (machine(ram=32), machine((24, 1000)), machine((8, 500), ram=16)):
        plan = plan_of(hardware)
        for axis in axes(plan, Goal(), hardware, CHAT):
            assert getattr(Knobs.of(plan), axis.name) in axis.values
