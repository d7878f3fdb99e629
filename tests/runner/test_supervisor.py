"""The real worker process with the demo model: it dies, it can't load, it is told to stop."""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from real_model import demo_path, plan

from edgellm.chat.events import Failed, Finished, TextDelta
from edgellm.chat.messages import Claim, GenerateParams, JSONSchema, Regex, SamplingParams
from edgellm.chat.pictures import Pictures
from edgellm.errors import (
    BadGGUF,
    BadRequest,
    DoesNotFit,
    EdgellmError,
    NotServing,
    Overloaded,
)
from edgellm.runner.supervisor import Supervisor
from edgellm.units import GIB, KIB

pytestmark = pytest.mark.model


def greedy(n, **more):
    return GenerateParams(SamplingParams(temperature=0, ignore_eos=True), n, **more)


def supervise(scenario, *, path=None, max_queue=512, **choices):
    """Run `scenario(engine)` with a started engine."""

    async def run():
        engine = Supervisor(str(path or demo_path()), plan(**choices), max_queue=max_queue)
        await engine.start()
        try:
            return await asyncio.wait_for(scenario(engine), 60)
        finally:
            await engine.stop()

    return asyncio.run(run())


async def collect(engine, prompt, params):
    """The text, and the one ending."""
    text, endings = "", []
    async for event in engine.generate(prompt, params):
        match event:
            case TextDelta(piece):
                assert not endings, "something came after the end"
                text += piece
            case Finished() | Failed():
                endings.append(event)
    assert len(endings) == 1
    return text, endings[0]


def test_the_same_seed_gives_the_same_text_whoever_runs_beside_it():
    async def scenario(engine):
        params = GenerateParams(SamplingParams(temperature=0.9, seed=7), 40)
        alone, _ = await collect(engine, "Once upon a time", params)
        crowd = [collect(engine, f"Tom {i}", greedy(30)) for i in range(7)]
        (beside, _), *_ = await asyncio.gather(collect(engine, "Once upon a time", params), *crowd)
        return alone, beside

    alone, beside = supervise(scenario, kv_unified=False)
    assert alone
    assert alone == beside


def test_a_worker_killed_under_load_ends_every_request_once_and_comes_back():
    async def scenario(engine):
        n_lost = 0
        for _ in range(20):
            tasks = [asyncio.create_task(collect(engine, "Once", greedy(450))) for _ in range(4)]
            await asyncio.sleep(0.05)
            begun_s, load_s = time.monotonic(), engine.ready.load_s
            os.kill(engine.pid, signal.SIGKILL)
            endings = [ending for _, ending in await asyncio.gather(*tasks)]
            n_lost += sum(isinstance(e, Failed) and e.http_status == 502 for e in endings)
            text, ending = await collect(engine, "Once", greedy(5))
            assert isinstance(ending, Finished), ending
            assert text
            assert time.monotonic() - begun_s < load_s + 2
        return n_lost, engine.n_restarts

    n_lost, n_restarts = supervise(scenario)
    assert n_restarts == 20
    assert n_lost >= 60  # most of the eighty were still running when the worker died


def test_requests_that_come_while_it_restarts_wait_and_are_answered():
    async def scenario(engine):
        os.kill(engine.pid, signal.SIGKILL)
        while engine.state != "restarting":  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0.001)
        return await asyncio.gather(*(collect(engine, "Once", greedy(5)) for _ in range(5)))

    assert all(isinstance(ending, Finished) for _, ending in supervise(scenario))


def test_what_waits_for_a_restart_is_bounded_in_bytes():
    pictures = Pictures("(picture)", (bytes(60 << 20),), ("a picture",))

    async def scenario(engine):
        os.kill(engine.pid, signal.SIGKILL)
        while engine.state != "restarting":  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0.001)
        held = [engine.generate("Once", greedy(5, pictures=pictures)) for _ in range(5)]
        with pytest.raises(Overloaded, match=r"5 requests wait, 3145\d+ bytes"):
            engine.generate("Once", greedy(5))
        for answer in held:
            await answer.aclose()
        assert isinstance((await collect(engine, "Once", greedy(5)))[1], Finished)

    supervise(scenario)


def test_closing_an_answer_frees_its_place():
    async def scenario(engine):
        answer = engine.generate("Once", greedy(400))
        await anext(answer)
        await answer.aclose()
        _, ending = await collect(engine, "Tom", greedy(5))
        assert isinstance(ending, Finished)
        while engine.gauge.n_running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return engine.gauge.n_decoded

    assert supervise(scenario, n_seq_max=1, n_parallel=1, n_outputs_max=1) < 100


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
        return GenerateParams(SamplingParams(ignore_eos=True), 10_000, claim=Claim(0, deadline_s))

    async def scenario(engine):
        late = await collect(engine, "Once", until(time.monotonic() - 1))
        cut = await collect(engine, "Once", until(time.monotonic() + 0.3))
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


def test_the_recorder_tells_what_steps_took_in_the_workers_process():
    async def scenario(engine):
        params = GenerateParams(SamplingParams(temperature=0), 8, n_draft_max=0)
        await collect(engine, "Once upon a time", params)
        return await engine.steps(1000)

    steps = supervise(scenario).steps
    assert [step.n_decode for step in steps] == [0, *[1] * 7]
    assert steps[0].n_prompt > 1
    for step in steps:
        assert 0 < step.decode_s + step.sample_s + step.ops_s < step.wall_s
        assert 0 < step.other_s < step.wall_s


def test_a_json_schema_is_followed():
    schema = (
        '{"type":"object","properties":{"age":{"type":"integer","maximum":99},'
        '"name":{"type":"string","maxLength":8}},"required":["age","name"],'
        '"additionalProperties":false}'
    )

    async def scenario(engine):
        params = GenerateParams(SamplingParams(seed=1), 60, structure=JSONSchema(schema))
        return await collect(engine, "Once", params)

    text, ending = supervise(scenario)
    assert set(json.loads(text)) == {"age", "name"}
    assert ending.reason == "stop"


def test_a_regex_is_followed_and_a_wrong_one_is_the_requests_own_fault():
    async def scenario(engine):
        good = await collect(engine, "Once", greedy(20, structure=Regex("(cat|dog) [0-9]{3}")))
        bad = await collect(engine, "Once", greedy(20, structure=Regex("(")))
        return good, bad

    (text, _), (_, ending) = supervise(scenario)
    assert text[:3] in ("cat", "dog")
    assert len(text) == 7
    assert isinstance(ending, Failed)
    assert ending.http_status == 400


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers():
    async def scenario(engine):
        return await collect(engine, (5,) * 600, greedy(5))

    _, ending = supervise(scenario)
    assert (ending.http_status, ending.param) == (400, "messages")
    assert "600 tokens" in ending.message
    assert ending.sizes == (600, 512)


def test_bos_is_there_exactly_once():
    async def scenario(engine):
        plain = (await engine.tokenize("Once", True)).tokens
        return plain, (await engine.tokenize("Once", False)).tokens

    with_bos, without = supervise(scenario)
    assert with_bos in (without, (with_bos[0], *without))


def test_a_text_model_refuses_to_embed():
    async def scenario(engine):
        with pytest.raises(BadRequest, match="no embeddings"):
            await engine.embed(("Once",))

    supervise(scenario)


def test_a_stopped_engine_tells_whoever_still_waits():
    async def scenario(engine):
        task = asyncio.create_task(collect(engine, "Once", greedy(450)))
        await asyncio.sleep(0.02)
        await engine.stop()
        with pytest.raises(NotServing):
            engine.generate("Once", greedy(5))
        return await task

    _, ending = supervise(scenario)
    assert isinstance(ending, Finished | Failed)


@pytest.mark.parametrize("damage", ["truncated", "not a gguf", "flipped"])
def test_a_damaged_file_is_refused_and_leaves_no_process(tmp_path, damage):
    data = bytearray(demo_path().read_bytes())
    match damage:
        case "truncated":
            data = data[: len(data) // 2]
        case "flipped":
            data[8] ^= 0xFF  # the number of tensors
        case _:
            data = bytearray(b"hello" * 100)
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)

    async def run():
        engine = Supervisor(str(path), plan())
        with pytest.raises(BadGGUF):
            await engine.start()
        return engine.pid

    assert asyncio.run(run()) is None


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
        begun_s = time.monotonic()
        _, ending = await collect(engine, "word " * 1_000_000, greedy(5))
        return ending, time.monotonic() - begun_s

    ending, elapsed_s = supervise(scenario)
    assert (ending.http_status, ending.kind) == (400, "ContextTooLong")
    assert elapsed_s < 5


def test_a_device_that_llama_cpp_does_not_find_is_named():
    async def scenario():
        engine = Supervisor(str(demo_path()), plan(devices=("CUDA7",)))
        with pytest.raises(EdgellmError, match="finds no device 'CUDA7'") as caught:
            await engine.start()
        await engine.stop()
        return engine, caught.value

    engine, error = asyncio.run(scenario())
    assert engine.missing_device == str(error)
    assert "edgellm probe" in error.hint


def test_a_worker_whose_device_is_gone_after_a_crash_says_so_until_it_loads_again():
    async def scenario(engine):
        assert engine.missing_device is None
        whole = engine.plan
        engine.plan = replace(whole, devices=("CUDA7",))
        os.kill(engine.pid, signal.SIGKILL)
        while engine.missing_device is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        engine.plan = whole
        _, ending = await collect(engine, "Once", greedy(3))
        return engine, ending

    engine, ending = supervise(scenario)
    assert isinstance(ending, Finished)
    assert engine.missing_device is None


def test_stopping_an_engine_that_is_still_starting_leaves_no_process_and_is_told():
    async def run(wait_s):
        engine = Supervisor(str(demo_path()), plan())
        starting = asyncio.create_task(engine.start())
        await asyncio.sleep(wait_s)
        was_ready = starting.done()
        await asyncio.wait_for(engine.stop(), 10)
        (error,) = await asyncio.gather(starting, return_exceptions=True)
        assert error is None if was_ready else isinstance(error, NotServing)
        return engine.pid, engine.state

    for wait_s in (0.0, 0.005, 0.05, 0.15, 0.25):
        assert asyncio.run(run(wait_s)) == (None, "stopped")


def test_a_file_whose_name_is_not_utf8_is_served(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    path.symlink_to(demo_path())

    async def scenario(engine):
        return await collect(engine, "Once", greedy(5))

    _, ending = supervise(scenario, path=path)
    assert isinstance(ending, Finished)


def limit_address_space(n_bytes, folder, monkeypatch):
    """Children alone get the limit: what this process maps by now may be more than any sensible
    one, and where memory is given out before it is there, the kernel kills what is not limited."""
    limited = folder / "limited-python"
    limited.write_text(f'#!/bin/sh\nulimit -v {n_bytes // KIB}\nexec "{sys.executable}" "$@"\n')
    limited.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(limited))


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS binds on Linux only")
def test_a_context_that_memory_cannot_hold_asks_for_a_smaller_plan(tmp_path, monkeypatch):
    limit_address_space(3 * GIB, tmp_path, monkeypatch)

    async def run():
        engine = Supervisor(str(demo_path()), plan(n_ctx=1 << 23, n_ctx_seq=1 << 18))
        with pytest.raises(DoesNotFit, match="could not load a context"):
            await engine.start()

    asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_native_code_prints_goes_to_the_log_and_not_between_the_frames():
    async def scenario(engine):
        fds = Path(f"/proc/{engine.pid}/fd")
        return (fds / "1").readlink(), (fds / "2").readlink()

    stdout, stderr = supervise(scenario)
    assert stdout == stderr


def test_a_death_is_told_and_logged_once_without_the_words_of_the_load():
    told = []

    async def scenario(engine):
        engine.on_death = told.append
        asking = asyncio.create_task(collect(engine, "Once", greedy(450)))
        while not (engine.gauge and engine.gauge.n_running):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        os.kill(engine.pid, signal.SIGKILL)
        _, ending = await asking
        _, again = await collect(engine, "Once", greedy(5))
        return ending, again, [line for line in engine.log if "SIGKILL" in line]

    ending, again, logged = supervise(scenario)
    assert ending.message == "the model's process ended (SIGKILL)"
    assert isinstance(again, Finished)
    assert told == logged
    (line,) = told
    assert line.endswith(": the model's process ended (SIGKILL); it is started again")


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), ValueError("closed file")])
def test_a_death_that_can_be_told_nobody_is_logged_and_the_worker_comes_back(error):
    def nobody(line):
        raise error

    async def scenario(engine):
        engine.on_death = nobody
        os.kill(engine.pid, signal.SIGKILL)
        while engine.state == "ready":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        _, ending = await collect(engine, "Once", greedy(5))
        return ending, engine.n_restarts, [line for line in engine.log if "SIGKILL" in line]

    ending, n_restarts, logged = supervise(scenario)
    assert isinstance(ending, Finished)
    assert n_restarts == 1
    assert len(logged) == 1
