"""What the tests of models/ share: the real models, where there are any, and ggml itself."""

import importlib.util
from pathlib import Path

import pytest

SHARED_MODELS = Path(__file__).parents[2] / "shared" / "models"

needs_shared_models = pytest.mark.skipif(
    not SHARED_MODELS.is_dir(), reason="no folder shared/models beside the repository"
)


def ggml_library() -> Path:
    """The engine's own file formats, without loading the engine. Skips where it is not apart."""
    found = importlib.util.find_spec("llama_cpp")
    assert found is not None
    assert found.origin is not None
    library = next((Path(found.origin).parent / "lib").glob("libggml-base.*"), None)
    if library is None:
        pytest.skip("libggml-base is not a file of its own in this build")
    return library
