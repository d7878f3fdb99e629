"""Loads of prompts: many that begin alike, and a long one beside running streams."""

import asyncio
import random
import time
from collections import Counter
from functools import partial

from client import Answer, complete
from loads import together, tokens
from pairs import Figures, Load, quantile

_OWN = 32
_N_STREAMS, _N_OUTPUT = 8, 220
_N_BEFORE = 10  # tokens of each stream when the long prompt is sent
_LONG = 4000


def prefix(shared: int, n: int) -> Load:
    async def load(port: int, rng: random.Random) -> Figures:
        common = tokens(rng, shared)
        prompts = [common + tokens(rng, _OWN) for _ in range(n)]
        name, figures = f"{n} × ({shared} shared + {_OWN})", Figures()
        for wave in ("cold", "warm"):
            answers = await together([complete(port, prompt, 32) for prompt in prompts])
            ttft_s = quantile([answer.ttft_s for answer in answers], 0.95)
            figures[f"{name}, {wave}: TTFT p95 s"] = ttft_s
            figures[f"{name}, {wave}: decode tok/s"] = _decode_tok_s(answers)
        return figures

    load.__name__ = f"prefix_{shared}_{n}"
    return load


async def mixed(port: int, rng: random.Random) -> Figures:
    """The gaps of the streams that a long prompt comes between, from its sending to its answer."""
    all_write, writing = asyncio.Event(), Counter[int]()

    def saw(stream: int) -> None:
        writing[stream] += 1
        if len(writing) == _N_STREAMS and min(writing.values()) >= _N_BEFORE:
            all_write.set()

    running = [
        asyncio.create_task(complete(port, tokens(rng, 32), _N_OUTPUT, saw=partial(saw, i)))
        for i in range(_N_STREAMS)
    ]
    await all_write.wait()
    sent_s = time.perf_counter()
    long = await complete(port, tokens(rng, _LONG), 4)
    ended_s = sent_s + long.ttft_s
    answers = await asyncio.gather(*running)
    gaps_s = [
        after - before
        for answer in answers
        for before, after in zip(answer.at_s, answer.at_s[1:], strict=False)
        if after > sent_s and before < ended_s
    ]
    return {
        "8 streams beside a long prompt: p99 ITL ms": 1000 * quantile(gaps_s, 0.99),
        "8 streams beside a long prompt: TTFT of the prompt s": long.ttft_s,
    }


def _decode_tok_s(answers: list[Answer]) -> float:
    """Of all together, from the last first token on: then nobody reads a prompt."""
    begun_s = max(answer.at_s[0] for answer in answers)
    ended_s = max(answer.at_s[-1] for answer in answers)
    n = sum(1 for answer in answers for at_s in answer.at_s if at_s > begun_s)
    return n / (ended_s - begun_s) if ended_s > begun_s else 0.0
