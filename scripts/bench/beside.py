"""What a running stream notices of what is done beside it: its gaps between tokens.

    python scripts/bench/beside.py MODEL.gguf [--lora FILE] [--mmproj FILE --picture FILE]

One stream runs alone, and then while an adapter is loaded, or while a request's pictures are looked
at: that request ends after one token, and its own prompt is counted apart, since a prompt's chunks
are longer steps by design. Each is done `--rounds` times.
"""

import argparse
import asyncio
import base64
import json
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from client import complete, data_lines
from pairs import quantile, running

Doing = Callable[[int, int], Awaitable[None]]  # port, round

_ALONE_S = 4.0
_N_STREAM = 100_000  # tokens: it is broken off


@dataclass(frozen=True, slots=True)
class Noticed:
    what: str
    took_s: float
    gaps_s: list[float]

    def __str__(self) -> str:
        median, p99 = (1000 * quantile(self.gaps_s, q) for q in (0.5, 0.99))
        longest = 1000 * max(self.gaps_s)
        return f"{self.what:22}{self.took_s:7.2f} s{median:8.1f}{p99:8.1f}{longest:8.1f}"


class Stream:
    """Tokens of one answer after the other, and when each came."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._came = asyncio.Event()
        self.at_s: list[float] = []

    async def run(self) -> None:
        body = {
            "prompt": "once upon a time", "max_tokens": _N_STREAM, "ignore_eos": True,
            "temperature": 0, "stream": True, "speculative.n_max": 0,
        }  # fmt: skip
        while True:
            async for _ in data_lines(self._port, "/v1/completions", body):
                self.at_s.append(time.perf_counter())
                self._came.set()

    async def _next(self) -> None:
        self._came.clear()
        await self._came.wait()

    async def noticed(self, what: str, doing: Awaitable[None]) -> Noticed:
        await self._next()
        begun, begun_s = len(self.at_s), time.perf_counter()
        await doing
        took_s = time.perf_counter() - begun_s
        await self._next()  # the gap in which it ended counts, too
        gaps_s = [after - before for before, after in pairwise(self.at_s[begun - 1 :])]
        return Noticed(what, took_s, gaps_s)


def adapter(path: Path) -> Doing:
    async def load(port: int, i: int) -> None:
        body = {"lora_name": f"adapter {i}", "lora_path": path.name}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/load_lora_adapter",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=120).read())

    return load


def pictures(file: bytes) -> Doing:
    async def ask(port: int, i: int) -> None:
        # What comes after a picture's end is no part of it, and makes another file of it.
        url = f"data:image/png;base64,{base64.b64encode(file + bytes(i)).decode()}"
        content = [{"type": "image_url", "image_url": {"url": url}}]
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 1}
        async for line in data_lines(port, "/v1/chat/completions", body):
            if b'"error"' in line:
                raise SystemExit(line.decode())

    return ask


async def prompts(port: int, n: int, i: int) -> None:
    """As many tokens as the picture is rows: what its prompt costs without its picture."""
    await complete(port, [100 + (7 * k + i) % 90 for k in range(n)], 1)


async def measure(port: int, args: argparse.Namespace) -> None:
    stream = Stream(port)
    task = asyncio.create_task(stream.run())
    print(f"{'beside':22}{'took':>9}{'median':>8}{'p99':>8}{'longest':>8}  ms between tokens")
    print(await stream.noticed("nothing", asyncio.sleep(_ALONE_S)), flush=True)
    for i in range(args.rounds):
        if args.lora:
            print(await stream.noticed("an adapter", adapter(args.lora)(port, i)), flush=True)
        if args.picture:
            print(
                await stream.noticed("a picture", pictures(args.picture.read_bytes())(port, i)),
                flush=True,
            )
            print(await stream.noticed("tokens only", prompts(port, args.rows, i)), flush=True)
    task.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL.gguf")
    parser.add_argument("--lora", type=Path)
    parser.add_argument("--mmproj")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--rows", type=int, default=256, help="that the picture becomes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flags", default="", help="more flags for edgellm serve")
    args = parser.parse_args()
    command = [
        sys.executable, "-m", "edgellm", "serve", args.model, "--port", "{port}",
        "-c", "16384", "--parallel", "4", "--name", "bench", *args.flags.split(),
    ]  # fmt: skip
    command += ["--lora-dir", str(args.lora.parent)] if args.lora else []
    command += ["--mmproj", args.mmproj] if args.mmproj else []
    with running(command, "edgellm") as (_, port):
        asyncio.run(measure(port, args))


if __name__ == "__main__":
    main()
