"""32 clients for minutes, on edgellm alone: memory must not grow, every request must end once, and
both sides must have counted the same tokens."""

import asyncio
import random
import sys
import time
import urllib.request
from collections.abc import Sequence

import psutil
from client import complete
from loads import tokens
from pairs import running

_N_CLIENTS = 32
_SETTLED_S = 60.0  # before memory is looked at: caches fill


def soak(command: Sequence[str], minutes: float) -> None:
    with running(command, "edgellm") as (process, port):
        asyncio.run(_soak(process.pid, port, minutes * 60))


async def _soak(pid: int, port: int, length_s: float) -> None:
    counts = {"asked": 0, "ended": 0, "failed": 0, "tokens": 0, "prompt": 0}
    end_s = time.monotonic() + length_s
    clients = [asyncio.create_task(_client(port, i, end_s, counts)) for i in range(_N_CLIENTS)]
    await asyncio.sleep(min(_SETTLED_S, length_s / 3))
    first = _rss_bytes(pid)
    await asyncio.gather(*clients)
    last, served = _rss_bytes(pid), _counted(port)
    print(f"requests: {counts['asked']} asked, {counts['ended']} ended, {counts['failed']} failed")
    print(
        f"tokens written: {counts['tokens']} by the clients, {served['generated']:.0f} by edgellm"
    )
    print(f"tokens asked: {counts['prompt']} by the clients, {served['prompt']:.0f} by edgellm")
    for name, before in first.items():
        now = last.get(name, 0)
        print(f"memory of {name}: {before >> 20} → {now >> 20} MiB ({now / before - 1:+.1%})")
    told = (served["generated"], served["prompt"])
    if counts["failed"] or told != (counts["tokens"], counts["prompt"]):
        sys.exit("the two sides don't agree")


async def _client(port: int, number: int, end_s: float, counts: dict[str, int]) -> None:
    rng = random.Random(number)
    common = tokens(random.Random("common"), 200)
    while time.monotonic() < end_s:
        shares = rng.random() < 0.5
        prompt = [*(common if shares else ()), *tokens(rng, rng.randint(8, 300))]
        counts["asked"] += 1
        try:
            answer = await complete(port, prompt, rng.randint(1, 64))
        except (RuntimeError, OSError) as error:
            counts["failed"] += 1
            print(error, file=sys.stderr)
            continue
        counts["ended"] += 1
        counts["tokens"] += answer.n_tokens
        counts["prompt"] += len(prompt)


def _counted(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        word: sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith(f"edgellm_{word}_tokens_total")
        )
        for word in ("generated", "prompt")
    }


def _rss_bytes(pid: int) -> dict[str, int]:
    gateway = psutil.Process(pid)
    workers = [
        one
        for one in gateway.children(recursive=True)
        if "edgellm.runner.worker_child" in one.cmdline()
    ]
    return {"the gateway": gateway.memory_info().rss} | {
        f"worker {one.pid}": one.memory_info().rss for one in workers
    }
