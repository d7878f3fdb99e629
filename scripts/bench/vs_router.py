"""Several models that take turns in memory: edgellm serve A B against llama-server's router.

    python scripts/bench/vs_router.py --llama-server PATH --models a.gguf b.gguf [--pairs 7]

Neither side may have more than one of them loaded: the router counts models (`--models-max 1`),
edgellm bytes, so it is told to keep free what more than one would need (`--reserve`).
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from client import complete
from pairs import Figures, compare, server, table

_N_CTX, _N_ANSWERS = 4096, 8
_PROMPT = "Once upon a time there was a"


def main() -> None:
    args = _arguments()
    names = [Path(model).stem for model in args.models]

    async def swap(port: int, rng: random.Random) -> Figures:
        """Each is asked when the other one is loaded."""
        told = [await complete(port, _PROMPT, 8, model=name) for name in names]
        return {"first token of a model that was asleep, s": sum(one.ttft_s for one in told) / 2}

    async def rivals(port: int, rng: random.Random) -> Figures:
        """A client for each, that asks again as soon as it has its answer."""

        async def talk(name: str) -> list[float]:
            return [
                (await complete(port, _PROMPT, 16, model=name)).ttft_s for _ in range(_N_ANSWERS)
            ]

        begun_s = asyncio.get_running_loop().time()
        waits = [one for told in await asyncio.gather(*map(talk, names)) for one in told]
        took_s = asyncio.get_running_loop().time() - begun_s
        return {"two clients, a model each: all answers, s": took_s, "longest wait, s": max(waits)}

    loads = [("swap", swap), ("rivals", rivals)]
    with (
        server(_ours(args), "edgellm") as our_port,
        _router(args) as command,
        server(command, "llama-server") as their_port,
    ):
        pairs = asyncio.run(compare(loads, our_port, their_port, args.pairs))
    print(table(pairs, "llama-server's router"))


def _ours(args: argparse.Namespace) -> Sequence[str]:
    free_bytes = psutil.virtual_memory().available
    reserve_bytes = int(free_bytes - args.room_gib * 2**30)
    return [
        sys.executable, "-m", "edgellm", "serve", *args.models, "--port", "{port}",
        "-c", str(_N_CTX), "-t", str(args.threads), "--reserve", f"{reserve_bytes >> 20}MiB",
    ]  # fmt: skip


@contextlib.contextmanager
def _router(args: argparse.Namespace) -> Iterator[Sequence[str]]:
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            (Path(folder) / Path(model).name).symlink_to(Path(model).resolve())
        yield [
            args.llama_server, "--models-dir", folder, "--models-max", "1", "--port", "{port}",
            "-c", str(_N_CTX), "-t", str(args.threads),
        ]  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llama-server", required=True, metavar="PATH")
    parser.add_argument("--models", required=True, nargs=2, metavar="GGUF")
    parser.add_argument("--room-gib", type=float, default=3.5, help="enough for one, not for both")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
