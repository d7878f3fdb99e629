"""libggml is a stand-in here: a build whose backends are libraries of their own is not at hand."""

from ctypes import c_char_p
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgellm.runner.llama.backends import load_backends

pytestmark = pytest.mark.model
FOLDER = Path("/site-packages/llama_cpp/lib")


def ggml(*registries):
    """Of a build that has these to begin with, and takes its C strings as ctypes does."""
    present, asked = list(registries), []

    def load_all(folder):
        assert load_all.argtypes == [c_char_p]
        assert isinstance(folder, bytes)
        asked.append(Path(folder.decode()))
        present.append("CPU")

    library = SimpleNamespace(
        ggml_backend_reg_count=lambda: len(present), ggml_backend_load_all_from_path=load_all
    )
    return library, asked


def test_backends_that_are_libraries_are_loaded_once_from_beside_it():
    library, asked = ggml()
    load_backends(library, FOLDER)
    load_backends(library, FOLDER)
    assert asked == [FOLDER]


def test_backends_that_are_built_in_are_not_looked_for():
    library, asked = ggml("CUDA", "CPU")
    load_backends(library, FOLDER)
    assert asked == []
