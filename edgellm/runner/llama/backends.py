"""ggml's backends where each is a library of its own (GGML_BACKEND_DL), as in a build that travels.

llama.cpp's programs load them, its library does not. Of the CPU's variants ggml takes the best one
that this CPU can run.
"""

import os
from ctypes import CDLL, c_char_p, c_size_t
from pathlib import Path


def load_backends(ggml: CDLL, folder: Path) -> None:
    """Those beside `ggml`, in `folder`; nothing where they were built in, or are loaded."""
    ggml.ggml_backend_reg_count.restype = c_size_t
    if ggml.ggml_backend_reg_count() == 0:
        ggml.ggml_backend_load_all_from_path.argtypes = [c_char_p]
        ggml.ggml_backend_load_all_from_path(os.fsencode(folder))
