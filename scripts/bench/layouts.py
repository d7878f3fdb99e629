"""Waves of prompts with a pause between: what a model gains that changes its KV layout meanwhile.

    python scripts/bench/layouts.py --model moe-mini.gguf --waves 2000+32 2000+32 0+2000 0+2000

COMMON+OWN: of each prompt's tokens, those that all of a wave begin with, and those of its own. New
ones every wave, so nothing is cached. `--our-flags=--kv-unified`, `--no-kv-unified` and
`--flash-attn on` pin what it is held against. With --talks the same users come back with a turn
more in every wave. `ttft` and `whole` are seconds to an answer's first token and to its end, on
average; `decode` is tok/s of one stream. Behind the waves stands what the model's log says of its
changes.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack

from client import complete
from loads import together, tokens
from pairs import server

_TURN = 48  # tokens of a user's next turn


def main() -> None:
    args = _arguments()
    ours = [
        sys.executable, "-m", "edgellm", "serve", args.model, "--port", "{port}", "-t",
        str(args.threads), "--use", args.use, "--parallel", str(args.parallel), "--ctx",
        str(args.ctx), "--name", "bench", *args.our_flags.split(),
    ]  # fmt: skip
    rival = [
        args.llama_server, "-m", args.model, "--port", "{port}", "-t", str(args.threads), "--alias",
        "bench", "-np", str(args.parallel), "-c", str(args.parallel * args.ctx),
        *args.rival_flags.split(),
    ]  # fmt: skip
    with ExitStack() as servers:
        port = servers.enter_context(server(ours, "edgellm"))
        beside = servers.enter_context(server(rival, "llama-server")) if args.llama_server else None
        asyncio.run(_waves(port, beside, args))


async def _waves(port: int, beside: int | None, args: argparse.Namespace) -> None:
    rng = random.Random(args.seed)
    talks: list[list[int]] = [[] for _ in range(args.n)]
    print(
        f"{'wave':>12}{'layout':>10}{'wall s':>9}{'ttft':>9}{'whole':>9}{'decode':>9}{'cached':>9}"
    )
    for wave in args.waves:
        n_common, n_own = map(int, wave.split("+"))
        if args.talks and talks[0]:
            prompts = [talk + tokens(rng, _TURN) for talk in talks]
        else:
            common = tokens(rng, n_common)
            prompts = [common + tokens(rng, n_own) for _ in range(args.n)]
        print(f"{wave:>12}{await _wave(port, prompts, args.out, _layout)}", flush=True)
        await asyncio.sleep(args.pause)
        if beside is not None:
            print(f"{'':>12}{await _wave(beside, prompts, args.out, _rivals)}", flush=True)
            await asyncio.sleep(1)
        talks = [[*prompt, *tokens(rng, 8)] for prompt in prompts]
    print("\n".join(line for line in _log(port) if line.startswith(("now ", "behind "))))


async def _wave(port: int, prompts: list[list[int]], n: int, layout: Callable[[int], str]) -> str:
    begun_s = time.perf_counter()
    answers = await together([complete(port, prompt, n) for prompt in prompts])
    wall_s = time.perf_counter() - begun_s
    decode = statistics.median(answer.decode_tok_s for answer in answers)
    ttft_s = statistics.mean(answer.ttft_s for answer in answers)
    whole_s = statistics.mean(answer.total_s for answer in answers)
    n_cached = sum(answer.n_cached for answer in answers)
    times = f"{wall_s:9.1f}{ttft_s:9.1f}{whole_s:9.1f}"
    return f"{layout(port):>10}{times}{decode:9.1f}{n_cached:9,}"


def _rivals(port: int) -> str:
    return "(rival)"


def _layout(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/edgellm/steps?last=1") as answer:
        (model,) = json.load(answer)["models"]
    return "streams" if model["steps"][-1]["n_kv"] is None else "pool"


def _log(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/edgellm/status") as answer:
        return list(json.load(answer)["log"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, metavar="GGUF")
    parser.add_argument("--waves", required=True, nargs="+", metavar="COMMON+OWN")
    parser.add_argument("--n", type=int, default=16, help="prompts of a wave")
    parser.add_argument("--out", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--use", default="batch")
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--ctx", type=int, default=2304)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause", type=float, default=6.0, help="seconds after each wave")
    parser.add_argument("--talks", action="store_true", help="the same users with a turn more")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--our-flags", default="", help="more flags for edgellm serve")
    parser.add_argument("--llama-server", metavar="PATH", help="the same waves there, in turn")
    parser.add_argument("--rival-flags", default="", help="more flags for llama-server")
    return parser.parse_args()


if __name__ == "__main__":
    main()
