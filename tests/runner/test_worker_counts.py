"""What the loop counts and measures: gauges, shares, the recorder, costs."""

from dataclasses import replace

import pytest
from runner_fakes import FakeBackend
from worker_runs import LIMITS, endings, greedy, run_worker, serve

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.batch import Start, Stop
from edgellm.runner.messages import Embed, Gauge, Generate, LoadAdapter, ReadSteps, Shutdown, Steps
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.pacing.recorder import NativeTimes
from edgellm.runner.scheduler import Scheduler


def test_the_last_gauge_says_that_all_is_done():
    told = serve([Generate(1, (5, 6), greedy(6)), Generate(2, (5, 7), greedy(6))])
    last = [m for m in told if isinstance(m, Gauge)][-1]
    assert (last.n_running, last.n_waiting, last.n_decoded, last.n_prompt) == (0, 0, 12, 4)


def test_the_shares_of_all_requests_are_the_steps_there_were():
    told = serve([Generate(1, (5, 6), greedy(6)), Generate(2, (7, 8, 9), greedy(3))])
    first, second = endings(told, 1)[0], endings(told, 2)[0]
    gauges = [m for m in told if isinstance(m, Gauge)]

    assert first.step_share + second.step_share == gauges[-1].n_steps
    assert (first.step_share, second.step_share) == (3 / 2 + 3, 3 / 2)
    assert (first.n_computed, second.n_computed) == (2 + 5, 3 + 2), "the last token is told only"
    assert 0 < second.step_share_s < first.step_share_s
    assert gauges[-1].work == ()


def test_only_steps_that_continue_one_answer_are_counted_as_alone():
    alone = [m for m in serve([Generate(1, (5, 6), greedy(6))], []) if isinstance(m, Gauge)][-1]
    two = serve([Generate(1, (5, 6), greedy(6)), Generate(2, (7, 8), greedy(6))], [])
    beside = [m for m in two if isinstance(m, Gauge)][-1]

    assert alone.n_alone == 4, "the first comes with the prompt, the last turn is not yet over"
    assert alone.alone_s > 0
    assert (beside.n_alone, beside.alone_s) == (0, 0.0)


def test_of_streams_that_take_turns_none_is_alone():
    wants = GenerateParams(SamplingParams(temperature=0), max_tokens=60, adapters=((0, 1.0),))
    streams = [Generate(2, (5, 6), greedy(40)), Generate(3, (7, 8), wants)]
    gauges = [m for m in serve([LoadAdapter(1, 0, b"x")], streams) if isinstance(m, Gauge)]
    both = [gauge for gauge in gauges if gauge.n_running == 2]
    assert both[-1].n_decoded > 10
    assert both[-1].n_alone == 0
    assert gauges[-1].n_alone > 0, "when the other one has ended"


def test_a_gauge_tells_what_each_running_request_has_had():
    told = serve([Generate(1, (5, 6), greedy(40))])
    rows = [m.work[0] for m in told if isinstance(m, Gauge) and m.work]
    assert rows
    assert all(n_tokens == steps + 1 for _, steps, n_tokens, _ in rows), "two tokens at first"


def test_embedded_inputs_are_counted_as_work():
    told = serve([Embed(1, ((5, 6), (7, 8, 9)))], embeds=True)
    last = [m for m in told if isinstance(m, Gauge)][-1]
    assert (last.n_steps, last.n_prefilled) == (1, 5)


def test_inputs_that_are_embedded_for_long_are_gauged_no_more_often_than_steps_are():
    arrivals, told = [[Embed(1, ((5,) * 30,) * 40)]], []

    def take(wait_s):
        return arrivals.pop(0) if arrivals else [Shutdown()] if wait_s else []

    run_worker(FakeBackend(LIMITS), take, told.extend, clock=lambda: 5.0, embeds=True)
    before, last = [m for m in told if isinstance(m, Gauge)][-2:]
    assert (before.n_steps, last.n_steps) == (1, 40), "then all is done"


def test_the_recorder_tells_of_each_step_with_its_rows():
    told = serve([Generate(1, (5, 6, 7), greedy(4))], [], [], [ReadSteps(7, 2)], [])
    (steps,) = [m for m in told if isinstance(m, Steps)]
    assert [one.n_decode for one in steps.steps] == [1, 1]
    assert all(one.wall_s > 0 and one.n_prompt == 0 for one in steps.steps)


def test_an_answers_gaps_are_in_its_timings():
    told = serve([Generate(1, (5, 6), greedy(6)), Generate(2, (9,), greedy(1))])
    timings = endings(told, 1)[0].timings
    assert 0 < timings.itl_p50_s <= timings.itl_p99_s
    assert endings(told, 2)[0].timings.itl_p50_s is None


def test_masks_that_outlast_a_device_make_no_step_dearer():
    class Backend(FakeBackend):
        def decode(self, batch):
            step = super().decode(batch)
            return replace(step, times=NativeTimes(decode_s=0.01, late_mask_s=0.01))

    arrivals = [[Generate(1, (5,), greedy(20))]]

    def take(wait_s):
        return arrivals.pop(0) if arrivals else [Shutdown()] if wait_s else []

    pace = Pace(0.1, StepCosts({1: 0.001}))
    run_worker(Backend(LIMITS), take, lambda messages: None, Scheduler(LIMITS, pace))
    assert pace.costs.step_s(1) == pytest.approx(0.001)


def test_what_sets_up_samplers_is_not_taken_for_copying():
    class Backend(FakeBackend):
        def decode(self, batch):
            n = sum(isinstance(op, Start | Stop) for op in batch.ops)
            times = NativeTimes(ops_s=0.25 * len(batch.ops), set_up_s=0.25 * n)
            return replace(super().decode(batch), times=times)

    copied_s, scheduler = [], Scheduler(LIMITS)
    scheduler.memory.observe = copied_s.append
    arrivals = [[Generate(1, (5, 6, 7), greedy(3))]]

    def take(wait_s):
        return arrivals.pop(0) if arrivals else [Shutdown()] if wait_s else []

    run_worker(Backend(LIMITS), take, lambda messages: None, scheduler)
    assert copied_s[0] == 0, "nobody was there to be copied from"
