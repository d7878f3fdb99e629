"""What edgellm itself takes of a step, by its flight recorder: the time that is not native."""

import asyncio
import json
import random
import statistics
import urllib.request
from typing import Any

from client import complete
from loads import together, tokens
from pairs import quantile

_N_OUTPUT = 64


def overhead(port: int) -> None:
    print("| streams | step ms | sampling µs | not native µs (p95) | 300 + 40 a stream |")
    print("|---|---|---|---|---|")
    for n in (1, 2, 4, 8):
        asyncio.run(_write(port, n))
        steps = _steps(port, n)
        step_ms, sample_us = _median(steps, "wall_s") * 1e3, _median(steps, "sample_s") * 1e6
        other_us = [1e6 * step["other_s"] for step in steps]
        print(
            f"| {n} | {step_ms:.1f} | {sample_us:.0f} "
            f"| **{statistics.median(other_us):.0f}** ({quantile(other_us, 0.95):.0f}) "
            f"| {300 + 40 * n} |"
        )


async def _write(port: int, n: int) -> None:
    rng = random.Random(n)
    await together([complete(port, tokens(rng, 32), _N_OUTPUT) for _ in range(n)])


def _steps(port: int, n: int) -> list[dict[str, Any]]:
    """Those in which all streams were written and no prompt was read."""
    url = f"http://127.0.0.1:{port}/edgellm/steps?last={_N_OUTPUT + 8}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        steps: list[dict[str, Any]] = json.load(answer)["models"][0]["steps"]
    return [step for step in steps if step["n_sequences"] == n and not step["n_prompt"]]


def _median(steps: list[dict[str, Any]], field: str) -> float:
    return statistics.median(step[field] for step in steps)
