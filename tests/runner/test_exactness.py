"""Recorded greedy continuations come out exactly: alone, crowded, with and without sharing."""

import asyncio

import pytest
from real_model import SHARED_MODELS, expected, needs_shared_models, plan

from edgellm.chat.events import Failed, Finished, TextDelta
from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.supervisor import Supervisor

pytestmark = [pytest.mark.model, needs_shared_models]

ROWS = expected()
TRAINED_FLOATS = [
    row for row in ROWS if row["file"].startswith("stories260K") and
    any(kind in row["file"] for kind in ("-f32", "-f16", "-q8_0"))
]  # fmt: skip


def greedy(n, *, shared=True):
    return GenerateParams(SamplingParams(temperature=0), n, cache_prompt=shared, logprobs=0)


async def ids(engine, prompt, params):
    """The token ids of an answer: the logprobs carry them."""
    tokens, end = [], None
    async for event in engine.generate(prompt, params):
        match event:
            case TextDelta(_, _, logprobs):
                tokens += [each.token for each in logprobs]
            case Finished() | Failed():
                end = event
    assert isinstance(end, Finished), end
    return tokens


async def _check(row, flash_attention):
    path = SHARED_MODELS / row["file"]
    n_ctx_seq = min(512, row.get("n_ctx", 512))
    engine = Supervisor(str(path), plan(flash_attention=flash_attention, n_ctx_seq=n_ctx_seq))
    await engine.start()
    try:
        prompt, want = tuple(row["prompt_ids"]), row["greedy_ids"]
        assert await ids(engine, prompt, greedy(40)) == want, "alone"
        assert await ids(engine, prompt, greedy(40)) == want, "from the cache"
        for shared in (True, False):
            others = [(*prompt[:k], *prompt) for k in range(1, len(prompt))] + [prompt] * 16
            mixed = [prompt, *others[:7], prompt, *others[:7]]
            answers = await asyncio.gather(
                *(ids(engine, each, greedy(40, shared=shared)) for each in mixed)
            )
            got = [a for each, a in zip(mixed, answers, strict=True) if each == prompt]
            assert len(mixed) == 16
            assert all(answer == want for answer in got), f"crowded, sharing {shared}"
    finally:
        await engine.stop()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_the_recorded_continuation_comes_out_without_flash_attention(row):
    asyncio.run(_check(row, flash_attention=False))


@pytest.mark.parametrize("row", TRAINED_FLOATS, ids=lambda row: row["file"])
def test_trained_float_and_q8_files_say_the_same_with_flash_attention_auto(row):
    asyncio.run(_check(row, flash_attention=None))
