"""edgellm against llama-server, side by side: same model, same threads, same machine, in turn.

    python scripts/bench/vs_llama_server.py --llama-server PATH --model q06.gguf [--pairs 7]

Build llama-server from the source that llama-cpp-python's source package carries, with the flags
that edgellm's own llama.cpp was built with (docs/benchmarks.md). pairs.py says how the two are
compared. The loads of many streams, long prompts and conversations are in engine_loads.py.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from loads import LOADS
from pairs import compare, server, table

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
    loads = [(load.__name__, load) for load in LOADS if args.only in load.__name__]
    with server(ours, "edgellm") as our_port, server(theirs, "llama-server") as their_port:
        pairs = asyncio.run(compare(loads, our_port, their_port, args.pairs))
    print(table(pairs))
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(pair) for pair in pairs], indent=1))


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


if __name__ == "__main__":
    main()
