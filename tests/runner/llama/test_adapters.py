"""Adapters side by side on every kind of memory, with prefixes shared among equal sets."""

import asyncio
import random
import struct

import pytest
from gguf_files import Tensor, gguf_bytes
from real_model import SHARED_MODELS, needs_shared_models, plan

from edgellm.chat.events import Failed, Finished, TextDelta
from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.models import local
from edgellm.runner.adapters import Adapter
from edgellm.runner.supervisor import Supervisor

pytestmark = [pytest.mark.model, needs_shared_models]

NOISE = (
    0.15  # natural log: what chunks of other sizes round; another adapter's cells move by 1 to 10
)
SETS = ((), ((0, 0.5),), ((0, 1.0),))
ROOT = tuple(20 + i % 60 for i in range(90))
PROMPTS = [(*ROOT, 70 + i) for i in range(3)]


def write_adapter(model, path):
    """Random numbers beside every matrix that ends a layer's halves."""
    header = local.read_header(SHARED_MODELS / model)
    changed = [t for t in header.tensors if t.name.endswith(("ffn_down.weight", "_output.weight"))]
    pairs = [
        tensor
        for t in changed
        for tensor in (
            Tensor(f"{t.name}.lora_a", (t.shape[0], 4)),
            Tensor(f"{t.name}.lora_b", (4, t.shape[1])),
        )
    ]
    keys = {
        "general.architecture": header.architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
    }
    data, rng = gguf_bytes(keys, pairs), random.Random(1)
    n = sum(t.shape[0] * t.shape[1] for t in pairs)
    numbers = struct.pack(f"<{n}f", *(rng.gauss(0, 0.15) for _ in range(n)))
    path.write_bytes(data[: -4 * n] + numbers)
    return Adapter(0, "random", str(path))


async def answer(engine, adapters, prompt, *, shared):
    sampling = SamplingParams(temperature=0, ignore_eos=True)
    params = GenerateParams(sampling, 8, logprobs=0, adapters=adapters, cache_prompt=shared)
    tokens, end = [], None
    async for event in engine.generate(prompt, params):
        match event:
            case TextDelta(_, _, logprobs):
                tokens += logprobs
            case Finished() | Failed():
                end = event
    assert isinstance(end, Finished), end
    return tokens[0], end.n_cached


async def alone_and_in_a_crowd(model, adapter, **choices):
    asked = [(adapters, prompt) for adapters in SETS for prompt in PROMPTS]
    engine = Supervisor(str(SHARED_MODELS / model), plan(**choices), adapters=[adapter])
    await engine.start()
    try:
        alone = [(await answer(engine, *one, shared=False))[0] for one in asked]
        crowds = [
            await asyncio.gather(*(answer(engine, *one, shared=True) for one in asked))
            for _ in range(2)
        ]
        return alone, crowds
    finally:
        await engine.stop()


@pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])
@pytest.mark.parametrize(
    "model", ["stories260K-f32.gguf", "tiny-gemma3-q8_0.gguf", "tiny-lfm2-q8_0.gguf"]
)
def test_a_crowd_of_adapters_shares_prefixes_and_mixes_nothing(model, unified, tmp_path):
    adapter = write_adapter(model, tmp_path / "random.gguf")
    alone, crowds = asyncio.run(alone_and_in_a_crowd(model, adapter, kv_unified=unified))
    logprobs = {round(token.logprob, 2) for token in alone}
    assert len(logprobs) >= len(SETS), "the adapters change nothing"
    for crowd in crowds:
        for want, (token, _) in zip(alone, crowd, strict=True):
            assert token.logprob == pytest.approx(want.logprob, abs=NOISE)
    n_cached = sum(n for _, n in crowds[1])
    assert n_cached >= len(alone) * 64, "what ended is found again"
