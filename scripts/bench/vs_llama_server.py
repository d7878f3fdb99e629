"""edgellm against llama-server, side by side: same model, same threads, same machine, in turn.

    python scripts/bench/vs_llama_server.py --llama-server PATH --model q06.gguf [--pairs 7]

Build llama-server from the source that llama-cpp-python's source package carries, with the flags
that edgellm's own llama.cpp was built with (README of scripts/bench). Both servers stay loaded;
only the one whose turn it is gets requests, and who goes first changes with every pair. A ratio is
edgellm's figure over llama-server's, pair by pair; the table shows medians and the spread.
"""

import argparse
import asyncio
import contextlib
import json
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from loads import LOADS, Figures

N_CTX = 8192


def main() -> None:
    args = _arguments()
    ours = [
        sys.executable, "-m", "edgellm", "serve", args.model, "--port", "{port}", "-c", str(N_CTX),
        "--parallel", str(args.parallel), "-t", str(args.threads), "--name", "bench",
        *args.our_flags.split(),
    ]  # fmt: skip
    theirs = [
        args.llama_server, "-m", args.model, "--port", "{port}", "-c", str(N_CTX),
        "-t", str(args.threads), *args.rival_flags.split(),
    ]  # fmt: skip
    with _server(ours, "edgellm") as our_port, _server(theirs, "llama-server") as their_port:
        rows = asyncio.run(_pairs(our_port, their_port, args.pairs, args.only))
    _print(rows)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llama-server", required=True, metavar="PATH")
    parser.add_argument("--model", required=True, metavar="GGUF")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--our-flags", default="", help="more flags for edgellm serve")
    parser.add_argument("--rival-flags", default="", help="more flags for llama-server: '-np 8'")
    parser.add_argument("--only", default="", help="loads whose name contains this")
    parser.add_argument("--json", metavar="FILE", help="write every single figure here")
    return parser.parse_args()


async def _pairs(ours: int, theirs: int, n: int, only: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for pair in range(-1, n):  # the first is a warm-up and not counted
        for load in LOADS:
            if only not in load.__name__:
                continue
            order = [("edgellm", ours), ("llama-server", theirs)]
            figures: dict[str, Figures] = {}
            for name, port in order if pair % 2 else order[::-1]:
                figures[name] = await load(port, random.Random(f"{load.__name__} {pair}"))
                await asyncio.sleep(0.3)
            if pair >= 0:
                rows += [
                    {"figure": key, "pair": pair, "edgellm": figures["edgellm"][key],
                     "llama-server": figures["llama-server"][key]}
                    for key in figures["edgellm"]
                ]  # fmt: skip
        print(f"pair {pair + 1} of {n}", file=sys.stderr, flush=True)
    return rows


def _print(rows: list[dict[str, object]]) -> None:
    names = dict.fromkeys(str(row["figure"]) for row in rows)
    print("| figure | edgellm | llama-server | ratio (min–max) |\n|---|---|---|---|")
    for name in names:
        pairs = [(row["edgellm"], row["llama-server"]) for row in rows if row["figure"] == name]
        ours, theirs = ([float(str(pair[i])) for pair in pairs] for i in (0, 1))
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        print(
            f"| {name} | {statistics.median(ours):.2f} | {statistics.median(theirs):.2f} "
            f"| **{statistics.median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f}) |"
        )


@contextlib.contextmanager
def _server(command: list[str], name: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    argv = [word.format(port=port) for word in command]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, port, name)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _wait(process: "subprocess.Popen[bytes]", port: int, name: str) -> None:
    url = f"http://127.0.0.1:{port}/health"
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"{name} ended with exit code {process.returncode} before it was ready")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    sys.exit(f"{name} was not ready after two minutes")


if __name__ == "__main__":
    main()
