"""The loads that are compared: each one run gives a few figures of one server.

Prompts are random token ids, new for every run and the same for both sides, so that nothing is
warm that should be cold.
"""

import asyncio
import random
import time
from collections.abc import Awaitable

from client import Answer, complete
from pairs import Figures, Load


def tokens(rng: random.Random, n: int) -> list[int]:
    """Ordinary words: the first thousand ids are bytes, the last hundreds are control tokens."""
    return [rng.randrange(1_000, 30_000) for _ in range(n)]  # words in any model's vocabulary


async def single_stream(port: int, rng: random.Random) -> Figures:
    answer = await complete(port, tokens(rng, 16), 64)
    return {"single stream decode tok/s": answer.decode_tok_s}


async def prefill(port: int, rng: random.Random) -> Figures:
    answer = await complete(port, tokens(rng, 512), 2)
    return {"prefill 512 tok/s": 512 / answer.ttft_s}


async def independent(port: int, rng: random.Random) -> Figures:
    begun_s = time.perf_counter()
    answers = await together([complete(port, tokens(rng, 32), 48) for _ in range(8)])
    wall_s = time.perf_counter() - begun_s
    return {"8 independent streams tok/s": sum(a.n_tokens for a in answers) / wall_s}


async def shared_prefix(port: int, rng: random.Random) -> Figures:
    """Eight clients with one system prompt of 500 tokens, cold; then the same eight once more."""
    prefix = tokens(rng, 500)
    prompts = [prefix + tokens(rng, 32) for _ in range(8)]
    figures: Figures = {}
    for wave in ("cold", "warm"):
        begun_s = time.perf_counter()
        answers = await together([complete(port, prompt, 32) for prompt in prompts])
        figures[f"8 × (500 shared + 32), {wave}: wall s"] = time.perf_counter() - begun_s
        figures[f"8 × (500 shared + 32), {wave}: TTFT p95 s"] = max(a.ttft_s for a in answers)
    return figures


async def second_turn(port: int, rng: random.Random) -> Figures:
    prompt = tokens(rng, 300)
    await complete(port, prompt, 32)
    again = await complete(port, prompt + tokens(rng, 32), 4)
    return {"second turn TTFT s": again.ttft_s}


async def together(requests: list[Awaitable[Answer]]) -> list[Answer]:
    return list(await asyncio.gather(*requests))


LOADS: tuple[Load, ...] = (single_stream, prefill, independent, shared_prefix, second_turn)
