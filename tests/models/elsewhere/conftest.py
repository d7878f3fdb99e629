import pytest
from elsewhere_stores import OllamaStore


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's, without any tool; and no service's store of this machine."""
    for name in ("LLAMA_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / ".ollama/models"))
    return tmp_path


@pytest.fixture
def store(home):
    return OllamaStore(home / ".ollama/models")
