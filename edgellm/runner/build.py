"""Which llama.cpp this is, in a word: what was measured with one build says nothing of another."""

import importlib.util
from functools import cache
from pathlib import Path


@cache
def llama_build() -> str:
    """ "0.3.36-5242880": the package's version and its library's size, which tells a CUDA build
    from a CPU build of the same version. "none" where there is no llama.cpp."""
    found = importlib.util.find_spec("llama_cpp")
    if found is None or not found.submodule_search_locations:
        return "none"
    package = Path(next(iter(found.submodule_search_locations)))
    names = [path.name for path in package.parent.glob("llama_cpp_python-*.dist-info")]
    version = names[0].split("-")[1].removesuffix(".dist") if names else "?"
    libraries = [*(package / "lib").glob("libggml*")]
    return f"{version}-{sum(path.stat().st_size for path in libraries)}"
