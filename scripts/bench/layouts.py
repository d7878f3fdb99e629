"""Waves of prompts with a pause between: what a model gains that changes its KV layout meanwhile.

    python scripts/bench/layouts.py --model moe-mini.gguf --waves 2000+32 2000+32 0+2000 0+2000

COMMON+OWN: of each prompt's tokens, those that all of a wave begin with, and those of its own. New
ones every wave, so nothing is cached. `--our-flags=--kv-unified` and `--no-kv-unified` pin what it
is held against. With --talks the same users come back with a turn more in every wave.
"""

import argparse
import asyncio
import json
import random
import sys
import time
import urllib.request

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
    with server(ours, "edgellm") as port:
        asyncio.run(_waves(port, args))


async def _waves(port: int, args: argparse.Namespace) -> None:
    rng = random.Random(args.seed)
    talks: list[list[int]] = [[] for _ in range(args.n)]
    print(f"{'wave':>12}{'layout':>10}{'wall s':>9}{'cached':>9}")
    for wave in args.waves:
        n_common, n_own = map(int, wave.split("+"))
        if args.talks and talks[0]:
            prompts = [talk + tokens(rng, _TURN) for talk in talks]
        else:
            common = tokens(rng, n_common)
            prompts = [common + tokens(rng, n_own) for _ in range(args.n)]
        begun_s = time.perf_counter()
        answers = await together([complete(port, prompt, args.out) for prompt in prompts])
        wall_s = time.perf_counter() - begun_s
        n_cached = sum(answer.n_cached for answer in answers)
        talks = [[*prompt, *tokens(rng, 8)] for prompt in prompts]
        print(f"{wave:>12}{_layout(port):>10}{wall_s:9.1f}{n_cached:9,}", flush=True)
        await asyncio.sleep(args.pause)


def _layout(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/edgellm/steps?last=1") as answer:
        (model,) = json.load(answer)["models"]
    return "streams" if model["steps"][-1]["n_kv"] is None else "pool"


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
    return parser.parse_args()


if __name__ == "__main__":
    main()
