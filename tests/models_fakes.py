"""What the tests of models/ share: the folder of real models, where there is one."""

from pathlib import Path

import pytest

SHARED_MODELS = Path(__file__).parents[2] / "shared" / "models"

needs_shared_models = pytest.mark.skipif(
    not SHARED_MODELS.is_dir(), reason="no folder shared/models beside the repository"
)
