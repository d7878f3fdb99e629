"""Loads a model as a plan says, with devices that are ggml-rpc servers; tells what each took.

    python scripts/bench/rpc_load_child.py LIBGGML_RPC.so MODEL.gguf ENDPOINT... < plan.json

The loader is edgellm's own (runner/llama/load.py); only the devices are made here. One JSON list on
stdout: buffer, weights, context and compute in bytes, as llama.cpp logs them.
"""

import ctypes
import os
import sys

import llama_cpp
import msgspec
from llama_cpp._ggml import libggml

from edgellm.runner.llama.load import load
from edgellm.selector.plan import Plan


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)
    library, model, *endpoints = sys.argv[1:]
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    register(library, endpoints)
    loaded = load(os.fsencode(model), plan, lambda ratio: None)
    os.write(out, msgspec.json.encode(loaded.memory))
    os._exit(0)  # the servers end with their connections; there is nothing to put in order


def register(library: str, endpoints: list[str]) -> None:
    """As `--rpc` does (common/arg.cpp add_rpc_devices), so that ggml knows them by name."""
    llama_cpp.llama_backend_init()
    rpc = ctypes.CDLL(library)
    rpc.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
    for endpoint in endpoints:
        server = rpc.ggml_backend_rpc_add_server(endpoint.encode())
        if not server:
            sys.exit(f"no server at {endpoint}")
        libggml.ggml_backend_register(ctypes.c_void_p(server))


if __name__ == "__main__":
    main()
