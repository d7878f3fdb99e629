"""Loads of independent streams: how many, how sampled, how bound, how disturbed."""

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from client import Answer, complete
from loads import together, tokens
from pairs import Figures, Load

# What both sides sample by when a request says nothing.
_SAMPLED = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
_SCHEMA = {
    "type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99999}, "minItems": 500
}  # fmt: skip
_N_OUTPUT = 48


def streams(n: int, *, greedy: bool) -> Load:
    kind = "greedy" if greedy else "sampled"

    async def load(port: int, rng: random.Random) -> Figures:
        rate = await _tok_s(port, rng, n, **({} if greedy else _SAMPLED))
        return {f"{n} streams, {kind}: tok/s": rate}

    load.__name__ = f"streams_{n}_{kind}"
    return load


async def schema(port: int, rng: random.Random) -> Figures:
    """The ratio of both is each side's own: what being bound costs."""
    bound: dict[str, Any] = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": _SCHEMA}}
    }
    free, followed = await _tok_s(port, rng, 8), await _tok_s(port, rng, 8, **bound)
    return {"8 streams with a schema: tok/s": followed, "schema over free": followed / free}


async def neighbour(port: int, rng: random.Random) -> Figures:
    alone = await complete(port, tokens(rng, 16), _N_OUTPUT)
    with _busy_core():
        beside = await complete(port, tokens(rng, 16), _N_OUTPUT)
    return {
        "beside a busy neighbour: tok/s": beside.decode_tok_s,
        "neighbour over alone": beside.decode_tok_s / alone.decode_tok_s,
    }


async def _tok_s(port: int, rng: random.Random, n: int, **more: Any) -> float:
    begun_s = time.perf_counter()
    asked = [complete(port, tokens(rng, 32), _N_OUTPUT, **more) for _ in range(n)]
    answers: list[Answer] = await together(asked)
    return sum(answer.n_tokens for answer in answers) / (time.perf_counter() - begun_s)


@contextlib.contextmanager
def _busy_core() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()
