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
from edgellm.selector.tuning import Axis, Knobs

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
        if trouble := self.garage.trouble(self.plan):
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
    def __init__(self, speed=lambda plan: 50.0, trouble=lambda plan: None, failure=None):
        self.speed, self.trouble, self.failure = speed, trouble, failure
        self.engines, self.fresh = [], []

    def __call__(self, path, plan):
        assert all(engine.state == "stopped" for engine in self.engines), "one at a time"
        self.engines.append(Engine(plan, self))
        return self.engines[-1]


def common(one, other):
    """Tokens that both begin with."""
    unlike = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(unlike, min(len(one), len(other)))


def tune(garage, axes=THREADS, plan=PLAN, workload=CHAT):
    watched = []
    best, trials = run_trials(
        "m.gguf", plan, axes, workload, lambda knobs, trial: watched.append((knobs, trial)), garage
    )
    assert all(engine.state == "stopped" for engine in garage.engines)
    return best, trials, watched


def test_the_fastest_is_found_and_every_engine_is_stopped():
    best, _, _ = tune(Garage(speed=lambda plan: 100.0 / (1 + abs(plan.n_threads - 2))))

    assert best == replace(Knobs.of(PLAN), n_threads=2)


def test_each_variation_differs_from_the_plan_in_one_setting_only():
    garage = Garage()
    tune(garage)

    assert {replace(engine.plan, n_threads=4) for engine in garage.engines} == {PLAN}


def test_a_trial_has_the_rates_that_the_worker_told():
    _, trials, _ = tune(Garage(speed=lambda plan: 50.0), axes=())

    (trial,) = trials
    assert len(trial.samples) == 5
    assert trial.samples[0].decode_tok_s == pytest.approx(50.0)
    assert trial.samples[0].prefill_tok_s == pytest.approx(500.0)


def test_decoding_is_measured_as_deep_as_the_use_goes():
    garage, deep = Garage(speed=lambda plan: 60.0), replace(PLAN, n_ctx_seq=8192)
    _, trials, _ = tune(garage, workload=AGENT, plan=deep)

    lengths = {len(prompt) for engine in garage.engines for prompt in engine.prompts[2:]}
    assert lengths == {AGENT.n_prompt + AGENT.n_answer // 2 - 24}  # half of the 48 that are written
    assert {trial.depth for trial in trials} == {lengths.pop() - 1200}


def test_what_comes_before_is_read_once_for_each_variation_and_the_prompt_anew():
    garage, deep = Garage(), replace(PLAN, n_ctx_seq=8192)
    _, trials, _ = tune(garage, workload=AGENT, plan=deep, axes=())

    _, _, *samples = garage.fresh
    assert samples == [1000] * 5
    assert all(sample.prefill_tok_s == pytest.approx(500.0) for sample in trials[0].samples)


def test_a_prompt_is_read_whole_where_that_takes_some_seconds_only():
    """A micro-batch of 512 does not show in a prompt of 150 tokens."""
    garage, deep = Garage(), replace(PLAN, n_ctx_seq=8192)
    _, trials, _ = tune(garage, plan=deep, axes=())

    _, _, *samples = garage.fresh
    assert samples == [CHAT.n_prompt] * 5
    assert trials[0].depth == CHAT.n_answer // 2 - 20  # half of the 40 that are written


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
    _, trials, _ = tune(Garage(speed=lambda plan: 2.0), axes=(), workload=AGENT)

    assert 0 < trials[0].depth <= 8 * 20


def test_who_watches_hears_of_each_variation_twice():
    _, trials, watched = tune(Garage())

    assert [knobs for knobs, trial in watched if trial is None] == [t.knobs for t in trials]
    assert [trial for _, trial in watched if trial] == list(trials)


def test_a_variation_that_can_not_be_loaded_is_a_trial_without_samples():
    garage = Garage(trouble=lambda plan: DoesNotFit("no room") if plan.n_threads == 8 else None)
    best, trials, _ = tune(garage)

    assert best == Knobs.of(PLAN)
    assert [trial.fault for trial in trials if not trial.samples] == ["no room"]


def test_a_plan_that_can_not_be_loaded_at_all_is_an_error():
    with pytest.raises(DoesNotFit, match="no room"):
        tune(Garage(trouble=lambda plan: DoesNotFit("no room")))


def test_a_worker_that_dies_under_the_first_measurement_is_an_error():
    with pytest.raises(WorkerDied, match="signal 9"):
        tune(Garage(failure=Failed("signal 9", 502)))


def test_a_small_context_gets_small_prompts():
    tune(Garage(speed=lambda plan: 1e6), plan=replace(PLAN, n_ctx_seq=64))


def test_who_breaks_off_leaves_no_engine_running():
    garage = Garage()

    def watch(knobs, trial):
        if len(garage.engines) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials("m.gguf", PLAN, THREADS, CHAT, watch, garage)
    assert [engine.state for engine in garage.engines] == ["stopped", "stopped"]
