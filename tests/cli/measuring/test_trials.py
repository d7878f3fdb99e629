"""The measuring of `tune`, with engines that are as fast as they are told to be."""

import asyncio
from dataclasses import replace

import pytest
from real_model import plan as hand_made

from edgellm.chat.events import Failed, Finished, TextDelta, Timings
from edgellm.cli.measuring.trials import run_trials
from edgellm.errors import DoesNotFit, WorkerDied
from edgellm.profiles import load_profiles
from edgellm.runner.messages import Tokenized
from edgellm.selector.bouts import Match
from edgellm.selector.knobs import Knobs
from edgellm.selector.tuning import Axis

CHAT, AGENT = (load_profiles().workload(use) for use in ("chat", "agent"))
PLAN = hand_made(n_threads=4)
THREADS = (Axis("n_threads", (1, 2, 4, 8)),)


class Engine:
    """Strict: started once, asked only while it is ready, stopped once."""

    def __init__(self, plan, garage):
        self.plan, self.garage, self.state = plan, garage, "starting"
        self.prompts = []

    async def start(self):
        assert self.state == "starting"
        await asyncio.sleep(0)
        trouble = self.garage.trouble(self.plan)
        if self.garage.n_running > self.garage.n_at_once:
            trouble = DoesNotFit("no room for two")
        if trouble:
            self.state = "failed"
            raise trouble
        self.state = "ready"

    async def tokenize(self, text, add_special):
        assert self.state == "ready"
        return Tokenized(1, tuple(range(10, 10 + len(text.split()))))

    async def generate(self, prompt, params):
        assert self.state == "ready"
        assert len(prompt) + params.max_tokens < self.plan.n_ctx_seq
        assert params.sampling.ignore_eos
        n_known = max((common(prompt, other) for other in self.prompts), default=0)
        self.prompts.append(prompt)
        n_cached = n_known if params.cache_prompt else 0
        self.garage.fresh.append(len(prompt) - n_cached)
        self.garage.asked.append(self.plan.n_threads)
        yield TextDelta("x")
        if failure := self.garage.failure:
            yield failure
            return
        n, rate = params.max_tokens, self.garage.speed(self.plan)
        yield Finished(
            "length",
            len(prompt),
            n_cached,
            n,
            Timings(0.0, (len(prompt) - n_cached) / (10 * rate), (n - 1) / rate),
        )

    async def stop(self, grace_s=5.0):
        assert self.state in ("ready", "failed")
        self.state = "stopped"


class Garage:
    """`n_at_once`: of how many engines there is room."""

    def __init__(
        self, speed=lambda plan: 50.0, trouble=lambda plan: None, failure=None, n_at_once=2
    ):
        self.speed, self.trouble, self.failure = speed, trouble, failure
        self.n_at_once, self.engines, self.fresh, self.asked = n_at_once, [], [], []

    def __call__(self, path, plan):
        assert self.n_running < max(self.n_at_once, 2), "two at most"
        self.engines.append(Engine(plan, self))
        return self.engines[-1]

    @property
    def n_running(self):
        return sum(engine.state != "stopped" for engine in self.engines)


class Watched:
    """What who watches is told, in its order."""

    def __init__(self, at_pair=lambda match, ratios: None):
        self.lines, self.at_pair = [], at_pair

    def begun(self, first):
        self.lines.append(("begun", first))

    def under_way(self, match, ratios):
        self.lines.append((match, len(ratios)))
        self.at_pair(match, ratios)

    def settled(self, bout):
        self.lines.append(("settled", bout))


def common(one, other):
    """Tokens that both begin with."""
    unlike = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(unlike, min(len(one), len(other)))


def tune(garage, axes=THREADS, plan=PLAN, workload=CHAT, watched=None, has_room=True):
    tuning = run_trials(
        "m.gguf", plan, axes, workload, watched or Watched(), garage, has_room=has_room
    )
    assert garage.n_running == 0
    return tuning


def test_the_fastest_is_found_and_every_engine_is_stopped():
    tuning = tune(Garage(speed=lambda plan: 100.0 / (1 + abs(plan.n_threads - 2))))

    assert tuning.best == replace(Knobs.of(PLAN), n_threads=2)
    assert tuning.bouts[-1].match == Match(Knobs.of(PLAN), tuning.best, is_final=True)


def test_two_that_are_compared_are_loaded_once_and_asked_in_turn():
    garage = Garage()
    tune(garage, axes=(Axis("n_threads", (4, 8)),))

    assert len(garage.engines) == 2
    warm, first = 2, 3
    assert garage.asked[warm + first :] == [4, 8, 8, 8, 4]  # the first 8 warms it


def test_without_room_for_two_each_is_loaded_for_its_turn_and_the_last_is_the_next_first():
    garage = Garage(n_at_once=1)
    tune(garage, axes=(Axis("n_threads", (4, 8)),), has_room=False)

    assert [engine.plan.n_threads for engine in garage.engines] == [4, 8, 4]


def test_where_two_find_no_room_after_all_they_take_turns():
    garage = Garage(n_at_once=1)
    tuning = tune(garage, axes=(Axis("n_threads", (4, 8)),), has_room=True)

    (bout,) = tuning.bouts
    assert bout.fault is None
    assert len(bout.pairs) == 2
    assert [engine.state for engine in garage.engines] == ["stopped"] * len(garage.engines)


def test_each_variation_differs_from_the_plan_in_one_setting_only():
    garage = Garage()
    tune(garage)

    assert {replace(engine.plan, n_threads=4) for engine in garage.engines} == {PLAN}


def test_a_sample_has_the_rates_that_the_worker_told():
    tuning = tune(Garage(speed=lambda plan: 50.0), axes=())

    assert len(tuning.first) == 3
    assert tuning.first[0].decode_tok_s == pytest.approx(50.0)
    assert tuning.first[0].prefill_tok_s == pytest.approx(500.0)
    assert tuning.bouts == ()


def test_decoding_is_measured_as_deep_as_the_use_goes():
    garage, deep = Garage(speed=lambda plan: 60.0), replace(PLAN, n_ctx_seq=8192)
    tuning = tune(garage, workload=AGENT, plan=deep)

    lengths = {len(prompt) for engine in garage.engines for prompt in engine.prompts[1:]}
    assert lengths == {AGENT.n_prompt + AGENT.n_answer // 2 - 24}  # half of the 48 that are written
    assert tuning.depth == lengths.pop() - 1200


def test_what_comes_before_is_read_once_for_each_variation_and_the_prompt_anew():
    garage, deep = Garage(), replace(PLAN, n_ctx_seq=8192)
    tuning = tune(garage, workload=AGENT, plan=deep, axes=())

    _, _, *samples = garage.fresh
    assert samples == [1000] * 3
    assert all(sample.prefill_tok_s == pytest.approx(500.0) for sample in tuning.first)


def test_a_prompt_is_read_whole_where_that_takes_some_seconds_only():
    """A micro-batch of 512 does not show in a prompt of 150 tokens."""
    garage, deep = Garage(), replace(PLAN, n_ctx_seq=8192)
    tuning = tune(garage, plan=deep, axes=())

    _, _, *samples = garage.fresh
    assert samples == [CHAT.n_prompt] * 3
    assert tuning.depth == CHAT.n_answer // 2 - 20  # half of the 40 that are written


def test_the_hosts_cache_is_no_larger_than_the_samples_need():
    garage = Garage()
    tune(garage, plan=replace(PLAN, n_ctx=65536, n_ctx_seq=32768), axes=())
    tune(garage, plan=replace(PLAN, n_ctx=65536, n_ctx_seq=32768), axes=(), workload=AGENT)

    sizes = [(engine.plan.n_ctx_seq, engine.plan.n_ctx) for engine in garage.engines]
    assert sizes == [(2048, 4096), (3584, 7168)]


def test_beside_accelerators_a_variation_has_to_fit_with_the_whole_cache():
    garage, plan = Garage(), replace(PLAN, n_ctx=65536, n_ctx_seq=32768, devices=("CUDA0",))
    tune(garage, plan=plan, axes=())

    assert [engine.plan for engine in garage.engines] == [plan]


def test_a_slow_machine_is_not_asked_to_read_a_long_text():
    tuning = tune(Garage(speed=lambda plan: 2.0), axes=(), workload=AGENT)

    assert 0 < tuning.depth <= 8 * 20


def test_who_watches_hears_of_the_plan_of_each_pair_and_of_each_end():
    watched = Watched()
    tuning = tune(Garage(), axes=(Axis("n_threads", (4, 8)),), watched=watched)

    (bout,) = tuning.bouts
    (begun, first), *pairs, settled = watched.lines
    assert (begun, first.first, settled) == ("begun", tuning.first, ("settled", bout))
    assert pairs == [(bout.match, n) for n in range(3)]


def test_a_variation_that_can_not_be_loaded_has_lost_and_room_for_two_is_not_doubted():
    garage = Garage(trouble=lambda plan: DoesNotFit("no room") if plan.n_threads == 8 else None)
    tuning = tune(garage)

    assert tuning.best == Knobs.of(PLAN)
    assert [bout.fault for bout in tuning.bouts if not bout.pairs] == ["no room"]
    assert [engine.plan.n_threads for engine in garage.engines] == [4, 8, 8, 4, 2]


def test_a_plan_that_can_not_be_loaded_at_all_is_an_error():
    with pytest.raises(DoesNotFit, match="no room"):
        tune(Garage(trouble=lambda plan: DoesNotFit("no room")))


def test_a_worker_that_dies_under_the_first_measurement_is_an_error():
    with pytest.raises(WorkerDied, match="signal 9"):
        tune(Garage(failure=Failed("signal 9", 502)))


def test_a_small_context_gets_small_prompts():
    tune(Garage(speed=lambda plan: 1e6), plan=replace(PLAN, n_ctx_seq=64))


@pytest.mark.parametrize("n_pairs", [0, 1, 2])
def test_who_breaks_off_leaves_no_engine_running(n_pairs):
    garage = Garage()

    def interrupt(match, ratios):
        if len(ratios) == n_pairs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(garage, watched=Watched(interrupt))
    assert garage.n_running == 0
    assert len(garage.engines) == (1 if n_pairs == 0 else 2)
