import pytest
from bundle_runs import DEMO_REPO, filled
from cli_runs import DEMO_PATH


@pytest.fixture
def hub_cache(tmp_path):
    """A user's, with the demo as a model that was downloaded."""
    filled(tmp_path / "hf" / "hub", {"m-Q8_0.gguf": DEMO_PATH.read_bytes()}, repo=DEMO_REPO)
    return tmp_path / "hf" / "hub"
