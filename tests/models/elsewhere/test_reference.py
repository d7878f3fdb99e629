import pytest

from edgellm.errors import BadRequest
from edgellm.models.elsewhere.reference import TITLES, ElsewhereReference, parse_elsewhere
from edgellm.models.known import catalog
from edgellm.models.names import CatalogReference, HubReference, PathReference, parse_reference


@pytest.mark.parametrize(
    ("text", "tool", "name"),
    [
        ("ollama:qwen3", "ollama", "qwen3"),
        ("ollama:qwen3:8b", "ollama", "qwen3:8b"),
        ("ollama://qwen3:8b-q8_0", "ollama", "qwen3:8b-q8_0"),
        ("Ollama:hf.co/org/repo-GGUF:Q4_K_M", "ollama", "hf.co/org/repo-GGUF:Q4_K_M"),
        ("lmstudio:org/repo:Q4_K_M", "lmstudio", "org/repo:Q4_K_M"),
        ("lm-studio:org/repo/x.gguf", "lmstudio", "org/repo/x.gguf"),
        ("llama.cpp:org/repo", "llamacpp", "org/repo"),
        (" gpt4all:Meta-Llama-3-8B.Q4_0.gguf ", "gpt4all", "Meta-Llama-3-8B.Q4_0.gguf"),
        ("jan:menlo/Jan-v1", "jan", "menlo/Jan-v1"),
    ],
)
def test_a_tool_and_a_colon_before_what_it_is_called_there(text, tool, name):
    assert parse_reference(text) == ElsewhereReference(tool, name)


def test_what_is_shown_can_be_typed():
    reference = ElsewhereReference("ollama", "qwen3:8b")
    assert parse_reference(reference.text) == reference


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("./ollama:x.gguf", PathReference),
        ("/models/ollama:x.gguf", PathReference),
        ("ollama/qwen3:8b", HubReference),  # an organisation of the hub may be called so
        ("hf.co/ollama/qwen3:Q4_0", HubReference),
        ("llama3.1:8b", CatalogReference),
        ("ollama", CatalogReference),
    ],
)
def test_what_only_looks_alike_is_what_it_was(text, kind):
    assert isinstance(parse_reference(text), kind)


def test_no_family_of_the_catalog_is_called_as_a_tool():
    families = {entry.family for entry in catalog.load_catalog()}
    assert not {one for one in families if parse_elsewhere(f"{one}:8b")}
    assert len(TITLES) == 5


@pytest.mark.parametrize(
    "text", ["ollama:", "ollama://", "jan:/", "ollama:a\nb", "ollama:" + "x" * 600]
)
def test_no_name_is_told_with_one_that_could_be_typed(text):
    with pytest.raises(BadRequest, match="names no model of") as told:
        parse_elsewhere(text)
    assert "edgellm list" in told.value.hint
