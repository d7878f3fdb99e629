import random
from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine

from edgellm.profiles import load_profiles
from edgellm.selector.bouts import Bout, Match, Sample
from edgellm.selector.choose import choose
from edgellm.selector.knobs import Knobs
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.plan import Goal
from edgellm.selector.tuning import Axis, axes, fewest_matches, holds_two, next_step

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
    """Is as fast as `speed` says of each variation, times a pace that falls and rises: by
    `drift_ratio` from a sample to the next, and by `noise_ratio` for single ones."""

    def __init__(self, speed, noise_ratio=0.0, seed=1, drift_ratio=0.0):
        self.speed, self.noise, self.drift = speed, noise_ratio, drift_ratio
        self.random, self.pace = random.Random(seed), 1.0

    def sample(self, knobs):
        self.pace *= 1 + self.drift
        noise = 1 + self.random.uniform(-self.noise, self.noise)
        rate = self.speed(knobs) * self.pace * noise
        return Sample(10 * rate, rate)

    def measure(self, match):
        """In turn, as cli/measuring/trials.py does."""
        bout = Bout(match, ())
        if self.speed(match.challenger) is None:
            return replace(bout, fault="out of memory")
        while bout.is_won(CHAT) is None:
            sides = [match.incumbent, match.challenger]
            if len(bout.pairs) % 2:
                sides.reverse()
            samples = {knobs: self.sample(knobs) for knobs in sides}
            pair = samples[match.incumbent], samples[match.challenger]
            bout = replace(bout, pairs=(*bout.pairs, pair))
        return bout


def tune(speed, noise_ratio=0.0, seed=1, axes=AXES, start=START, drift_ratio=0.0):
    """The winner, and what was measured on the way."""
    machine, bouts = Machine(speed, noise_ratio, seed, drift_ratio), []
    while (step := next_step(axes, start, bouts, CHAT)).next is not None:
        assert len(bouts) < 40, "it does not come to an end"
        bouts.append(machine.measure(step.next))
    return step.best, bouts


def peak_at(n_threads):
    return lambda knobs: 100 - 5 * abs(knobs.n_threads - n_threads)


def test_the_plan_as_it_was_chosen_is_held_against_a_neighbour_first():
    assert next_step(AXES, START, [], CHAT).next == Match(START, replace(START, n_threads=12))


def test_where_there_is_nothing_to_vary_nothing_is_measured():
    assert next_step((), START, [], CHAT).next is None


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


def test_no_match_is_played_twice_and_the_last_one_is_the_final():
    best, bouts = tune(peak_at(4))
    matches = [bout.match for bout in bouts]

    assert len(set(matches)) == len(matches)
    assert [match for match in matches if match.is_final] == [Match(START, best, is_final=True)]
    assert matches[-1].is_final
    assert len(bouts[-1].pairs) > max(len(bout.pairs) for bout in bouts[:-1])


def test_where_nothing_is_faster_the_plan_stays_and_few_are_measured():
    best, bouts = tune(lambda knobs: 50.0)

    assert best == START
    assert len(bouts) == 5  # two neighbours of threads and micro-batch, one of flash attention
    assert fewest_matches(AXES, START) == 5
    assert {len(bout.pairs) for bout in bouts} == {2}


@pytest.mark.parametrize("seed", range(40))
def test_noise_alone_never_wins(seed):
    best, _ = tune(lambda knobs: 50.0, noise_ratio=0.1, seed=seed)

    assert best == START


@pytest.mark.parametrize("drift_ratio", [-0.03, -0.01, 0.01, 0.03])
@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_slows_down_or_wakes_up_misleads_nobody(drift_ratio, seed):
    """It is three times as fast, or a third, before the second variation is through."""
    best, _ = tune(lambda knobs: 50.0, noise_ratio=0.02, seed=seed, drift_ratio=drift_ratio)
    assert best == START

    best, _ = tune(peak_at(4), noise_ratio=0.02, seed=seed, drift_ratio=drift_ratio)
    assert best.n_threads in (2, 4, 6)


@pytest.mark.parametrize("seed", range(20))
def test_a_clear_gain_is_found_through_noise(seed):
    def speed(knobs):
        return 80.0 if knobs.n_threads <= 6 else 50.0

    best, _ = tune(speed, noise_ratio=0.05, seed=seed)

    assert best.n_threads <= 6


def test_what_can_not_be_loaded_is_left_alone():
    def speed(knobs):
        return None if knobs.n_ubatch > 512 else 50.0 + knobs.n_ubatch / 100

    best, bouts = tune(speed)

    assert best.n_ubatch == 512
    assert [bout.fault for bout in bouts if bout.fault] == ["out of memory"]


def test_a_micro_batch_never_exceeds_its_batch():
    _, bouts = tune(lambda knobs: float(knobs.n_ubatch))

    tried = [bout.match.challenger for bout in bouts]
    assert all(knobs.n_ubatch <= knobs.n_batch for knobs in tried)


def test_a_gain_below_three_percent_is_none():
    best, _ = tune(lambda knobs: 102.0 if knobs.flash_attention is False else 100.0)

    assert best == START


def test_two_are_loaded_at_once_where_no_pool_is_more_than_half_full():
    hardware = machine((24, 1000))
    plan = plan_of(hardware, Goal(n_ctx_seq=4096, n_parallel=1))
    budgets = pool_budgets(hardware)
    (card, _) = plan.shares

    assert holds_two(plan, budgets)
    assert not holds_two(plan, {**budgets, card.pool_id: 2 * card.total_bytes - 1})


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
