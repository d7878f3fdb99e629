"""Two servers, the same loads in turn, and what the pairs say. For the benchmarks of this folder.

Both servers stay loaded; only the one whose turn it is gets requests, and who goes first changes
with every pair, so that a machine that slows down slows both. A ratio is edgellm's figure over
the rival's, pair by pair.
"""

import asyncio
import contextlib
import math
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

Figures = dict[str, float]
Load = Callable[[int, random.Random], Awaitable[Figures]]


@dataclass(frozen=True, slots=True)
class Pair:
    figure: str
    pair: int
    edgellm: float
    rival: float


@contextlib.contextmanager
def server(
    command: Sequence[str],
    name: str,
    prepare: Callable[[int], None] = lambda port: None,
    health: str = "/health",
) -> Iterator[int]:
    """The port that it listens on; "{port}" in the command stands for it. `prepare` is told of it
    before the server starts."""
    with running(command, name, prepare, health) as (_, port):
        yield port


@contextlib.contextmanager
def running(
    command: Sequence[str],
    name: str,
    prepare: Callable[[int], None] = lambda port: None,
    health: str = "/health",
) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    prepare(port)
    argv = [word.format(port=port) for word in command]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, f"http://127.0.0.1:{port}{health}", name)
        yield process, port
    finally:
        process.terminate()
        process.wait(20)


async def compare(
    loads: Sequence[tuple[str, Load]], ours: int, theirs: int, n: int, *, warms_up: bool = True
) -> list[Pair]:
    """`warms_up`: one pair more, the first, is not counted."""
    found: list[Pair] = []
    for pair in range(-1 if warms_up else 0, n):
        for name, load in loads:
            order = [("edgellm", ours), ("rival", theirs)]
            figures: dict[str, Figures] = {}
            for side, port in order if pair % 2 else order[::-1]:
                figures[side] = await load(port, random.Random(f"{name} {pair}"))
                await asyncio.sleep(0.3)
            if pair >= 0:
                found += [
                    Pair(key, pair, mine, figures["rival"][key])
                    for key, mine in figures["edgellm"].items()
                    if key in figures["rival"]
                ]
        print(f"pair {pair + 1} of {n}", file=sys.stderr, flush=True)
    return found


def table(pairs: Sequence[Pair], rival: str = "llama-server") -> str:
    lines = [f"| figure | edgellm | {rival} | ratio [95 %] |", "|---|---|---|---|"]
    for figure in dict.fromkeys(one.figure for one in pairs):
        mine = [one for one in pairs if one.figure == figure]
        low, high = interval([one.edgellm / one.rival for one in mine if one.rival])
        lines.append(
            f"| {figure} | {statistics.median(one.edgellm for one in mine):.3g} "
            f"| {statistics.median(one.rival for one in mine):.3g} "
            f"| **{ratio(mine):.3f}** [{low:.3f}, {high:.3f}] |"
        )
    return "\n".join(lines)


def ratio(pairs: Sequence[Pair]) -> float:
    ratios = [one.edgellm / one.rival for one in pairs if one.rival]
    return statistics.median(ratios) if ratios else math.nan


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the median, whatever the distribution: the narrowest two order statistics that hold it
    with at least 95 % (binomial). Fewer than six values can't: then it is all of them."""
    ordered, n = sorted(values), len(values)
    if not n:
        return math.nan, math.nan
    outside, k = 0.0, 0
    while k < n // 2 and outside + 2 * math.comb(n, k) / 2**n <= 0.05:
        outside += 2 * math.comb(n, k) / 2**n
        k += 1
    k = max(k - 1, 0)
    return ordered[k], ordered[n - 1 - k]


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that so many are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]


def _wait(process: "subprocess.Popen[bytes]", url: str, name: str) -> None:
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"{name} ended with exit code {process.returncode} before it was ready")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    sys.exit(f"{name} was not ready after two minutes")
