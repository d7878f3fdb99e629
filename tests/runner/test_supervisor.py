"""The real worker process with the demo model: what it answers."""

import asyncio
import json

import pytest
from supervisor_runs import collect, greedy, supervise

from edgellm.chat.events import Failed
from edgellm.chat.messages import GenerateParams, JSONSchema, Regex, SamplingParams
from edgellm.errors import (
    BadRequest,
)

pytestmark = pytest.mark.model


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
