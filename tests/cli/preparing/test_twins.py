import pytest
from elsewhere_stores import OllamaStore, put

from edgellm.cli.preparing.resolve import resolve
from edgellm.cli.preparing.twins import twin
from edgellm.config import Config
from edgellm.errors import Offline


@pytest.fixture
def store(tmp_path):
    return OllamaStore(tmp_path / "ollama")


def test_nobody_has_it(store):
    assert twin("qwen3:8b") is None
    assert twin("org/repo") is None
    assert twin("nosuchmodel") is None
    assert twin("./x.gguf") is None


def test_ollama_has_a_catalogs_model_by_the_same_name(store):
    store.add("qwen3:8b")
    assert twin("qwen3:8b") == "Ollama has it here, as F16: edgellm serve ollama:qwen3:8b"
    assert twin("qwen3") == twin("qwen3:8b-q8_0") == twin("qwen3:8b")
    assert twin("qwen3:4b") is None


def test_latest_says_no_size_and_one_that_cannot_be_read_is_none(store):
    store.add("qwen3:latest")
    store.add("qwen3:4b", b"GGUF of nothing")
    assert twin("qwen3:8b") is None
    assert twin("qwen3:4b") is None


def test_a_model_of_ones_own_is_known_by_its_name(store):
    store.add("Mine:latest")
    store.add("other/repo:latest")
    assert twin("mine") == "Ollama has it here, as F16: edgellm serve ollama:Mine:latest"
    assert twin("mine:7b") is None
    assert twin("other/repo") is None  # that is somebody's on a hub


def test_a_repositorys_files_are_known_wherever_they_lie(store, tmp_path):
    put(tmp_path / ".lmstudio/models", "Org/Repo-GGUF/tiny-F16.gguf")
    told = "LM Studio has it here, as F16: edgellm serve lmstudio:Org/Repo-GGUF:F16"
    assert twin("org/repo-gguf:Q4_K_M") == twin("hf.co/org/Repo-GGUF") == told
    store.add("hf.co/org/other-GGUF:Q8_0")
    assert twin("org/other-GGUF").endswith("edgellm serve ollama:hf.co/org/other-GGUF:Q8_0")
    put(tmp_path / ".lmstudio/models", "Qwen/Qwen3-8B-GGUF/qwen3-8b-F16.gguf")
    assert twin("qwen3:8b").endswith("lmstudio:Qwen/Qwen3-8B-GGUF:F16")


def test_who_cannot_download_is_told_of_it_and_gets_nothing_else_instead(store):
    store.add("qwen3:8b")
    with pytest.raises(Offline) as told:
        resolve("qwen3:8b", Config(offline=True))
    assert told.value.hint.startswith("Ollama has it here, as F16: edgellm serve ollama:qwen3:8b; ")
