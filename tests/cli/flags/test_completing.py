import pytest
from elsewhere_stores import OllamaStore

from edgellm.cli.flags import completing
from edgellm.cli.flags.completing import (
    boards,
    devices,
    downloaded,
    here,
    in_catalog,
    models,
    words,
)
from edgellm.cli.preparing.resolve import DEMO
from edgellm.probe.known import catalog

COMMIT = "0" * 40


@pytest.fixture
def stored(tmp_path):
    """One model in Hugging Face's cache, as `pull` leaves it."""
    snapshot = tmp_path / "hf" / "hub" / "models--org--repo" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "m-Q8_0.gguf").write_bytes(b"GGUF")


def test_words_are_those_that_begin_so():
    assert words("chat", "code", "batch")("c") == ["chat", "code"]
    assert words("chat")("") == ["chat"]


def test_a_family_is_offered_first_and_its_models_when_it_is_the_only_one():
    assert {"qwen3", "gemma3"} <= {*in_catalog("")}
    assert all(":" not in name for name in in_catalog(""))
    assert "qwen3:8b" in in_catalog("qwen3:")
    assert all(name.startswith("qwen3:") for name in in_catalog("qwen3:"))
    assert in_catalog("gemma3:1") == [name for name in in_catalog("gemma3:") if "3:1" in name]
    assert in_catalog("nosuch") == []


def test_what_is_on_this_disk_comes_first_with_and_without_where_it_is_from(stored):
    assert downloaded("") == ["org/repo:Q8_0"]
    assert downloaded("hf") == ["hf.co/org/repo:Q8_0"]
    assert here("") == [DEMO, "org/repo:Q8_0"]
    assert models("")[:2] == here("")
    assert models("org/repo:Q") == ["org/repo:Q8_0"]


def test_a_model_without_a_label_is_offered_as_a_name_and_not_as_a_path(stored, tmp_path):
    (snapshot,) = (tmp_path / "hf" / "hub").glob("*/snapshots/*")
    (snapshot / "m-Q8_0.gguf").rename(snapshot / "beta.gguf")
    assert downloaded("") == ["hf.co/org/repo/beta.gguf"]
    assert downloaded("hf") == ["hf.co/org/repo/beta.gguf"]


def test_what_other_tools_have_is_offered_to_who_serves_and_not_to_who_removes(tmp_path):
    OllamaStore(tmp_path / "ollama").add("qwen3:8b")
    assert here("oll") == models("ollama:q") == ["ollama:qwen3:8b"]
    assert downloaded("oll") == []


def test_a_board_is_offered_by_its_name():
    assert "rpi5" in boards("rp")
    assert "pi5" not in boards("rp")


def test_a_device_is_offered_as_a_word_that_needs_no_quotes_and_is_understood():
    assert "RTX3090" in devices("RTX30")
    assert "rtx3090" in devices("rtx30")
    assert "RTX 3090" in devices("RTX 30")
    assert devices("nosuch") == []
    for word in ("RTX3090", "rtx3090"):
        assert catalog.load().named(word).name == "RTX 3090"
    assert all(" " not in word for word in devices(""))
    for word in devices(""):
        catalog.load().named(word)


def test_nothing_is_offered_where_a_setting_is_wrong(stored, monkeypatch):
    monkeypatch.setenv("EDGELLM_OFFLINE", "maybe")

    assert completing.downloaded("") == []
