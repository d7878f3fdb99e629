"""One ggml-rpc server on this machine's loopback, with the CPU as its device.

python scripts/bench/rpc_server_child.py LIBGGML_RPC.so 127.0.0.1:PORT
"""

import ctypes
import sys

import llama_cpp
from llama_cpp._ggml import libggml


def main() -> None:
    library, endpoint = sys.argv[1:]
    llama_cpp.llama_backend_init()
    by_name = libggml.ggml_backend_dev_by_name
    by_name.restype, by_name.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    devices = (ctypes.c_void_p * 1)(by_name(b"CPU"))
    start = ctypes.CDLL(library).ggml_backend_rpc_start_server
    start.restype = None
    start.argtypes = [
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
        ctypes.c_void_p,
    ]
    n_threads, no_cache = 1, None
    start(endpoint.encode(), no_cache, n_threads, len(devices), ctypes.addressof(devices))


if __name__ == "__main__":
    main()
