"""200 structures made to hurt, against a live server, beside a stream that must not notice.

    python scripts/bench/bombs.py --model q06.gguf [--only regex] [--part 1/6] [--flags "-t 2"]

Each is asked for alone, as a stream of 24 tokens: "told" is the time to its first token, or to its
refusal; "read" is what of that its prompt took to be read, which no structure makes longer. A
neighbour streams all the while; its longest gap between two tokens is kept for each, and what it
was made of is said (gaps.py).

Then all are sent at once, and a modest request with a known structure is timed among them. The
worker must be the same process in the end. tests/structure_bombs.py has the bombs.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client import complete
from gaps import Gap, Neighbour, events
from pairs import running

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from structure_bombs import bombs

N_TOKENS, N_CTX, PATIENCE_S = 24, 16_384, 60.0
MODEST = {"json_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}


@dataclass(slots=True)
class Told:
    name: str
    told_s: float  # to the first token, or the refusal
    ending: str
    read_s: float = 0.0  # of this, from the prompt's first step to the first token
    gap: Gap = field(default_factory=Gap)  # the neighbour's longest meanwhile

    @property
    def judged_s(self) -> float:
        return self.told_s - self.read_s


def _chat(fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    body = {
        "messages": [{"role": "user", "content": "x"}], "max_tokens": N_TOKENS, "stream": True,
        "temperature": 1.3, "seed": 1,
    }  # fmt: skip
    return "/v1/chat/completions", body | fields


async def told(port: int, name: str, fields: dict[str, Any]) -> Told:
    begun_s = time.perf_counter()
    try:
        return await asyncio.wait_for(_told(port, name, fields), PATIENCE_S)
    except TimeoutError:
        return Told(name, time.perf_counter() - begun_s, "NO ANSWER")


async def _told(port: int, name: str, fields: dict[str, Any]) -> Told:
    begun_s, first_s, read_s, ending = time.perf_counter(), None, 0.0, "broke off"
    async for event in events(port, _chat(fields)):
        choice = (event.get("choices") or [{}])[0]
        delta = choice.get("delta") or {}
        if "error" in event or set(delta) - {"role", "content"} or delta.get("content"):
            first_s = first_s or time.perf_counter()
        if "error" in event:
            ending = str(event["error"]["message"])
        ending = choice.get("finish_reason") or ending
        read_s = event.get("timings", {}).get("prompt_ms", 0.0) / 1000 or read_s
    return Told(name, (first_s or time.perf_counter()) - begun_s, ending, read_s)


def chosen_of(only: str, part: str) -> list[tuple[str, dict[str, Any]]]:
    """`part` K/N is every N-th of them, from the K-th: each part has some of all kinds."""
    first, n = map(int, part.split("/"))
    return [(name, fields) for name, fields in bombs() if only in name][first - 1 :: n]


async def attack(
    port: int, processes: list[int], chosen: list[tuple[str, dict[str, Any]]]
) -> tuple[list[Told], list[Told], Gap]:
    neighbour = Neighbour(port, processes)
    streaming = asyncio.create_task(neighbour.run())
    await neighbour.began.wait()
    await told(port, "the vocabulary is read once", MODEST)
    await neighbour.take_longest()
    await asyncio.sleep(5)
    print(f"the neighbour alone: {await neighbour.take_longest()}")
    alone: list[Told] = []
    for name, fields in chosen:
        one = await told(port, name, fields)
        one.gap = await neighbour.take_longest()
        alone.append(one)
        print(f"{one.told_s:6.2f} s  {name}", file=sys.stderr)
    at_once = [asyncio.create_task(told(port, name, fields)) for name, fields in chosen]
    await asyncio.sleep(0.2)
    modest = await told(port, "a modest one among them", MODEST)
    crowd = [*await asyncio.gather(*at_once), modest]
    longest = await neighbour.take_longest()
    streaming.cancel()
    return alone, crowd, longest


def worker_of(server_pid: int) -> list[int]:
    path = Path(f"/proc/{server_pid}/task/{server_pid}/children")
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, metavar="GGUF")
    parser.add_argument("--only", default="", help="bombs whose name contains this")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="every N-th, from the K-th")
    parser.add_argument("--flags", default="", help="more flags for edgellm serve")
    args = parser.parse_args()
    command = [
        sys.executable, "-m", "edgellm", "serve", args.model, "--port", "{port}",
        "-c", str(N_CTX), "--parallel", "8", "--name", "bench", *args.flags.split(),
    ]  # fmt: skip
    with running(command, "edgellm") as (process, port):
        before = worker_of(process.pid)
        chosen = chosen_of(args.only, args.part)
        alone, crowd, longest = asyncio.run(attack(port, [process.pid, *before], chosen))
        asyncio.run(complete(port, "it is alive", 4))
        after = worker_of(process.pid)
    report(alone, crowd, longest)
    print("the worker is", "the same process" if before == after else "ANOTHER PROCESS")


def report(alone: list[Told], crowd: list[Told], longest: Gap) -> None:
    ends = {"stop", "length", "tool_calls"}
    n_refused = sum(one.ending not in ends for one in alone)
    print(
        f"{len(alone)} bombs: {n_refused} refused or broken off, {len(alone) - n_refused} followed"
    )
    listed("the slowest to be told", sorted(alone, key=lambda one: -one.told_s))
    listed("the longest gaps of the neighbour", sorted(alone, key=lambda one: -one.gap.gap_s))
    n_late, n_judged_late = (
        sum(seconds > 2 for seconds in each)
        for each in ([one.told_s for one in alone], [one.judged_s for one in alone])
    )
    print(
        f"\ntold after 2 s: {n_late}, {n_judged_late} without their prompts' reading; "
        f"gaps over 200 ms: {sum(one.gap.gap_s > 0.2 for one in alone)}"
    )
    modest = crowd[-1]
    print(
        f"all at once: the slowest told {max(one.told_s for one in crowd):.1f} s, a modest one "
        f"told {modest.told_s:.2f} s\nthe neighbour's longest gap meanwhile {longest}"
    )


def listed(title: str, ordered: list[Told]) -> None:
    print(f"\n{'told':>7} {'read':>6} {'gap':>6}  {title}")
    for one in ordered[:10]:
        print(
            f"{one.told_s:6.2f}s {one.read_s:5.2f}s {1000 * one.gap.gap_s:4.0f}ms  "
            f"{one.name}: {one.ending[:60]}"
        )
        if one.gap.step:
            print(f"{'':24}{one.gap}")


if __name__ == "__main__":
    main()
