"""Loads of prompts: many that begin alike, and a long one beside running streams."""

import asyncio
import random
import time
from functools import partial
from itertools import pairwise

from client import Answer, complete
from loads import together, tokens
from pairs import Figures, Load, quantile

_OWN = 32
_N_STREAMS, _N_OUTPUT = 8, 220
_N_BEFORE = 10  # tokens of each stream when the long prompt is sent


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


def mixed(n_long: int, n_own: int) -> Load:
    """The gaps of the streams that a prompt of `n_long` tokens comes between, from its sending to
    its answer; `n_own`: of their own prompts. Then they are broken off: at that depth they would go
    on for a minute."""

    async def mixed(port: int, rng: random.Random) -> Figures:
        all_write = asyncio.Event()
        at_s: list[list[float]] = [[] for _ in range(_N_STREAMS)]

        def saw(stream: int) -> None:
            at_s[stream].append(time.perf_counter())
            if min(map(len, at_s)) >= _N_BEFORE:
                all_write.set()

        running = [
            asyncio.create_task(complete(port, tokens(rng, n_own), _N_OUTPUT, saw=partial(saw, i)))
            for i in range(_N_STREAMS)
        ]
        await all_write.wait()
        sent_s = time.perf_counter()
        long = await complete(port, tokens(rng, n_long), 4)
        await _broken_off(running)
        gaps_s = [
            after - before
            for times_s in at_s
            for before, after in pairwise(times_s)
            if after > sent_s and before < sent_s + long.ttft_s
        ]
        name = f"8 streams of {n_own} beside a prompt of {n_long}"
        return {
            f"{name}: p99 ITL ms": 1000 * quantile(gaps_s, 0.99),
            f"{name}: TTFT of the prompt s": long.ttft_s,
        }

    return mixed


async def _broken_off(running: list[asyncio.Task[Answer]]) -> None:
    """Raises what one of them has raised before."""
    for task in running:
        task.cancel()
    for ended in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


def _decode_tok_s(answers: list[Answer]) -> float:
    """Of all together, from the last first token on: then nobody reads a prompt."""
    begun_s = max(answer.at_s[0] for answer in answers)
    ended_s = max(answer.at_s[-1] for answer in answers)
    n = sum(1 for answer in answers for at_s in answer.at_s if at_s > begun_s)
    return n / (ended_s - begun_s) if ended_s > begun_s else 0.0
