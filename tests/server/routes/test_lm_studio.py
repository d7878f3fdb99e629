"""LM Studio's `/api/v0`: the models as its clients look for them, and OpenAI's routes there."""

import openai
import pytest


def test_the_models_are_listed_as_lm_studios_clients_look_for_them(http, engine):
    tiny, mini = http.get("/api/v0/models").json()["data"]
    assert tiny == {
        "id": "tiny",
        "object": "model",
        "type": "llm",
        "publisher": "",
        "compatibility_type": "gguf",
        "quantization": "Q8_0",
        "state": "loaded",
        "max_context_length": 512,
        "loaded_context_length": 512,
        "capabilities": ["tool_use"],
    }
    assert (mini["type"], mini["capabilities"]) == ("embeddings", [])
    engine.state = "sleeping"
    asleep = http.get("/api/v0/models/small").json()
    assert (asleep["id"], asleep["state"]) == ("tiny", "not-loaded")
    assert "loaded_context_length" not in asleep


def test_openais_client_is_answered_under_its_base(live):
    hi = [{"role": "user", "content": "Hi"}]
    with openai.OpenAI(base_url=f"{live.url}/api/v0", api_key="none", max_retries=0) as client:
        assert client.chat.completions.create(model="tiny", messages=hi).usage.total_tokens
        assert client.completions.create(model="tiny", prompt="Hi").choices[0].text
        assert client.embeddings.create(model="mini", input="Hi").data[0].embedding
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("huge")
    assert caught.value.param == "model"  # in OpenAI's shape, though Ollama's is above it


def test_what_loads_a_model_there_is_not_here(http):
    missing = http.post("/api/v1/models/load", json={"model": "tiny"})
    assert (missing.status_code, missing.json()) == (
        404, {"error": "/api/v1/models/load is not served here"},
    )  # fmt: skip
