"""edgellm against llama-cpp-python's own example server: the loads of vs_llama_server.py.

    python scripts/bench/vs_python_server.py --server examples/server/server.py --model q06.gguf

It lies in llama-cpp-python's source package and needs, beside what edgellm has installed: fastapi,
pydantic, safetensors, websockets (`pip install --target FOLDER …`, and FOLDER in PYTHONPATH). Both
run the same llama.cpp with the same threads and cells; the rest is both sides' defaults, but for
eight sequences, of which the other server has one unless it is told.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from loads import LOADS
from pairs import compare, server, table

_N_CTX, _N_PARALLEL = 8192, 8


def main() -> None:
    args = _arguments()
    ours = [
        sys.executable, "-m", "edgellm", "serve", args.model, "--port", "{port}",
        "-c", str(_N_CTX), "--parallel", str(_N_PARALLEL), "-t", str(args.threads),
        "--name", "bench",
    ]  # fmt: skip
    loads = [(load.__name__, load) for load in LOADS if args.only in load.__name__]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        theirs = [sys.executable, args.server, "-C", str(config)]

        def configure(port: int) -> None:
            config.write_text(json.dumps(_config(args, port)))

        with (
            server(ours, "edgellm") as our_port,
            server(theirs, "the example server", configure, "/healthz") as their_port,
        ):
            pairs = asyncio.run(compare(loads, our_port, their_port, args.pairs))
    print(table(pairs, "llama-cpp-python's server"))


def _config(args: argparse.Namespace, port: int) -> dict[str, object]:
    model = {
        "path": str(Path(args.model).resolve()), "alias": "bench", "n_ctx": _N_CTX,
        "n_seq_max": _N_PARALLEL, "threads": args.threads, "threads_batch": args.threads,
    }  # fmt: skip
    return {"server": {"host": "127.0.0.1", "port": port}, "model": model}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", required=True, metavar="PATH")
    parser.add_argument("--model", required=True, metavar="GGUF")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="loads whose name contains this")
    return parser.parse_args()


if __name__ == "__main__":
    main()
