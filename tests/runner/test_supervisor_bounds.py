"""What one request may ask of the real worker process: a place, time, length, memory."""

import asyncio
import sys
import time

import psutil
import pytest
from supervisor_runs import LONG, ROOMY, collect, greedy, limit_address_space, supervise

from edgellm.chat.events import Failed, Finished
from edgellm.chat.messages import Claim, GenerateParams, Regex, SamplingParams
from edgellm.errors import (
    BadRequest,
    Overloaded,
)
from edgellm.units import GIB

pytestmark = pytest.mark.model


def test_closing_an_answer_frees_its_place():
    async def scenario(engine):
        answer = engine.generate("Once", greedy(LONG))
        await anext(answer)
        await answer.aclose()
        _, ending = await collect(engine, "Tom", greedy(5))
        assert isinstance(ending, Finished)
        while engine.gauge.n_running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return engine.gauge.n_decoded

    one_place = {"n_seq_max": 1, "n_parallel": 1, "n_outputs_max": 1}
    assert 5 < supervise(scenario, **one_place, **ROOMY) < LONG


def test_a_full_queue_is_refused_with_its_numbers():
    async def scenario(engine):
        running = [engine.generate("Once", greedy(400)) for _ in range(8 + 2)]
        with pytest.raises(Overloaded, match="10 requests are running or waiting"):
            engine.generate("Once", greedy(5))
        for answer in running:
            await answer.aclose()

    supervise(scenario, max_queue=2)


def test_a_key_may_fill_its_part_of_the_queue_only():
    def of(key):
        return GenerateParams(SamplingParams(), 400, claim=Claim(key=key, queue_ratio=0.25))

    async def scenario(engine):
        running = [engine.generate("Once", of("a")) for _ in range(8 + 2)]
        with pytest.raises(Overloaded, match="10 requests of this API key"):
            engine.generate("Once", of("a"))
        running += [engine.generate("Once", of("b"))]
        for answer in running:
            await answer.aclose()
        await engine.generate("Once", of("a")).aclose()

    supervise(scenario, max_queue=8)


def test_a_deadline_holds_in_the_workers_process_for_who_waits_and_for_who_runs():
    def until(deadline_s):
        return GenerateParams(SamplingParams(ignore_eos=True), 90_000, claim=Claim(0, deadline_s))

    async def scenario(engine):
        late = await collect(engine, "Once", until(time.monotonic() - 1))
        for patience_s in (0.3, 3.0, 20.0):  # a machine may be slow to begin
            cut = await collect(engine, "Once", until(time.monotonic() + patience_s))
            if cut[0]:
                break
        return late, cut

    (_, late), (text, cut) = supervise(scenario, n_ctx=200_000, n_ctx_seq=100_000)
    assert (late.http_status, late.kind) == (504, "DeadlinePassed")
    assert (cut.reason, bool(text)) == ("deadline", True)


def test_a_deadline_passes_while_a_long_text_is_made_into_tokens():
    async def scenario(engine):
        claim = Claim(deadline_s=time.monotonic() + 0.1)
        return await collect(engine, "word " * 600_000, greedy(4, claim=claim))

    _, late = supervise(scenario, n_ctx=100_000, n_ctx_seq=100_000)
    assert late.kind == "DeadlinePassed"
    assert "while it was prepared" in late.message


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers():
    async def scenario(engine):
        return await collect(engine, (5,) * 600, greedy(5))

    _, ending = supervise(scenario)
    assert (ending.http_status, ending.param) == (400, "messages")
    assert "600 tokens" in ending.message
    assert ending.sizes == (600, 512)


def test_a_structure_that_explodes_fails_its_request_instead_of_pretending_to_be_done():
    pattern = "([a-z ]*[aeiou][a-z ]{90}[xz]){1,}"

    async def scenario(engine):
        params = GenerateParams(SamplingParams(seed=1), 450, structure=Regex(pattern))
        return await collect(engine, "Once", params)

    _, ending = supervise(scenario)
    assert isinstance(ending, Failed) or ending.reason == "length"


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS binds on Linux only")
def test_a_penalty_window_of_any_size_costs_nobody_the_worker(tmp_path, monkeypatch):
    limit_address_space(3 * GIB, tmp_path, monkeypatch)

    async def scenario(engine):
        sampling = SamplingParams(repeat_last_n=2**31 - 1, repeat_penalty=1.1)
        _, ending = await collect(engine, "Once", GenerateParams(sampling, 5))
        return ending, engine.n_restarts

    ending, n_restarts = supervise(scenario)
    assert isinstance(ending, Finished)
    assert n_restarts == 0


def test_text_that_is_not_unicode_is_refused_and_takes_no_place():
    async def scenario(engine):
        with pytest.raises(BadRequest, match="not valid Unicode"):
            engine.generate("half a pair: \ud800", greedy(5))
        running = [engine.generate("Once", greedy(400)) for _ in range(8)]
        for answer in running:
            await answer.aclose()

    supervise(scenario, max_queue=0)


def test_an_absurdly_long_text_is_refused_before_it_is_tokenized():
    async def scenario(engine):
        before_s = cpu_s(engine)
        _, ending = await collect(engine, "word " * 4_000_000, greedy(5))
        return ending, cpu_s(engine) - before_s

    ending, taken_s = supervise(scenario)
    assert (ending.http_status, ending.kind) == (400, "ContextTooLong")
    assert taken_s < 1, "to make tokens of it takes six of the processor's seconds"


def cpu_s(engine):
    """Of the worker: what others do on the machine is no part of it."""
    times = psutil.Process(engine.pid).cpu_times()
    return times.user + times.system
