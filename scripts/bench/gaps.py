"""A stream that must not notice what others ask for, and what its longest gap between two tokens
was made of: the flight recorder's longest step in it; how long a thread of the server's was ready
meanwhile and had no core, which is the machine's doing where others compute; and which of its
threads ran the most.
"""

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from client import data_lines

_WORTH_A_LOOK_S = 0.1
# A stream whose every token is told at once: none is half of a character, none was guessed with
# others in one long step.
_PLAIN = {"regex": "[a-z ]*", "speculative.n_max": 0}


@dataclass(frozen=True, slots=True)
class Gap:
    gap_s: float = 0.0
    ended_s: float = 0.0  # Unix time
    waited_s: float = 0.0  # of it, the thread that waited the longest for a core
    ran: str = ""  # the threads that ran the most
    step: str = ""  # the longest in it

    def __str__(self) -> str:
        if not self.step:
            return f"{1000 * self.gap_s:.0f} ms"
        waited = f"{1000 * self.waited_s:.0f} waiting for a core"
        return f"{1000 * self.gap_s:.0f} ms, {waited}; ran: {self.ran}; {self.step}"


@dataclass(slots=True)
class Neighbour:
    """Streams one answer after the other; knows its longest gap since it was last asked."""

    port: int
    processes: list[int]  # the server and its workers
    longest: Gap = field(default_factory=Gap)
    n_tokens: int = 0
    began: asyncio.Event = field(default_factory=asyncio.Event)
    _seen_s: float = 0.0
    _spent: "dict[str, Spent]" = field(default_factory=dict)

    async def run(self) -> None:
        while True:
            self._seen_s = 0.0  # between two answers it waits for its prompt, not for a token
            async for _ in events(self.port, completion(2000, **_PLAIN)):
                self._look()
                self.n_tokens += 1
                self.began.set()

    async def take_longest(self) -> Gap:
        if self._seen_s:
            self._look(is_token=False)
        longest, self.longest = self.longest, Gap()
        if longest.gap_s < _WORTH_A_LOOK_S:
            return longest
        step = await asyncio.to_thread(_longest_step, self.port, longest)
        return replace(longest, step=step)

    def _look(self, *, is_token: bool = True) -> None:
        now_s, spent = time.perf_counter(), _spent(self.processes)
        gap_s = now_s - self._seen_s if self._seen_s else 0.0
        if gap_s > self.longest.gap_s:
            self.longest = _gap(gap_s, self._spent, spent)
        if is_token:
            self._seen_s, self._spent = now_s, spent


def _gap(gap_s: float, before: "dict[str, Spent]", after: "dict[str, Spent]") -> Gap:
    nothing = Spent(0.0, 0.0)
    ran_s = {name: one.ran_s - before.get(name, nothing).ran_s for name, one in after.items()}
    waited_s = [one.waited_s - before.get(name, nothing).waited_s for name, one in after.items()]
    most = sorted(ran_s, key=lambda name: -ran_s[name])[:4]
    ran = ", ".join(f"{name} {1000 * ran_s[name]:.0f}" for name in most)
    return Gap(gap_s, time.time(), max(waited_s, default=0.0), ran)


def completion(n: int, **more: Any) -> tuple[str, dict[str, Any]]:
    body = {"prompt": "once upon a time", "max_tokens": n, "ignore_eos": True, "temperature": 0}
    return "/v1/completions", body | {"stream": True} | more


async def events(port: int, asked: tuple[str, dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """The JSON of each event, an error's too."""
    async for line in data_lines(port, *asked):
        yield json.loads(line)


@dataclass(frozen=True, slots=True)
class Spent:
    """By one thread, since it began."""

    ran_s: float
    waited_s: float  # for a core


def _spent(processes: list[int]) -> dict[str, Spent]:
    """By process and thread, both counted from 0; Linux only."""
    found = {}
    for i, pid in enumerate(processes):
        threads = sorted(Path(f"/proc/{pid}/task").glob("*"), key=lambda path: int(path.name))
        for k, path in enumerate(threads):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                ran_ns, waited_ns, _ = map(int, (path / "schedstat").read_text().split())
                found[f"{i}.{k}"] = Spent(ran_ns / 1e9, waited_ns / 1e9)
    return found


def _longest_step(port: int, gap: Gap) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/edgellm/steps", timeout=20) as answer:
        (model,) = json.load(answer)["models"]
    begun_s = gap.ended_s - gap.gap_s
    steps = [
        one
        for one in model["steps"]
        if one["start_s"] < gap.ended_s and one["start_s"] + one["wall_s"] > begun_s
    ]
    if not steps:
        return "no step in it"
    one = max(steps, key=lambda step: step["wall_s"])
    times = ", ".join(
        f"{name} {1000 * one[name + '_s']:.0f}"
        for name in ("wall", "decode", "sample", "mask", "ops", "other")
    )
    return (
        f"{len(steps)} steps, the longest: {times} ms; {one['n_decode']} rows decode, "
        f"{one['n_prompt']} read, {one['n_threads']} threads"
    )
