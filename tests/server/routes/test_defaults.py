"""What a model's server says where a request doesn't: real clients of OpenAI and Ollama."""

import httpx2
import ollama
import openai
import pytest
from server.server_fakes import live_server, served

from edgellm.chat.defaults import Defaults

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def model():
    return served("own", defaults=Defaults({"temperature": 0.25, "top_k": 7}, "Be brief."))


@pytest.fixture(scope="module")
def url(model):
    with live_server(model) as live:
        yield live.url


@pytest.fixture
def asked(model):
    model.engine.asked.clear()
    return model.engine.asked


def test_openais_client_has_them_and_says_what_it_wants_otherwise(url, asked):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        client.chat.completions.create(model="own", messages=HI, temperature=0.8)
        client.completions.create(model="own", prompt="Once", extra_body={"top_k": 40})
        client.responses.create(model="own", input="Hi", instructions="Be long.")

    numbers = [(one.sampling.temperature, one.sampling.top_k) for _, one in asked]
    assert numbers == [(0.8, 7), (0.25, 40), (0.25, 7)]
    prompts = [prompt for prompt, _ in asked]
    assert prompts[0].startswith("system: Be brief.")
    assert prompts[1] == "Once", "a bare prompt has no system"
    assert "Be brief." not in prompts[2]


def test_ollamas_client_has_them_and_is_told_them(url, asked):
    with ollama.Client(url) as client:
        first = client.generate(model="own", prompt="Hi", options={"temperature": 0.5})
        client.generate(model="own", prompt="Hi", context=first.context)
        client.generate(model="own", prompt="Hi", system="Be long.")
        shown = client.show("own")

    numbers = [(one.sampling.temperature, one.sampling.top_k) for _, one in asked]
    assert numbers == [(0.5, 7), (0.25, 7), (0.25, 7)]
    assert asked[0][0].startswith("system: Be brief.")
    assert asked[2][0].startswith("system: Be long.")
    assert "Be brief." not in asked[2][0]
    told = {line.split()[0]: line.split()[1] for line in shown.parameters.splitlines()}
    assert (told["num_ctx"], told["temperature"], told["top_k"]) == ("512", "0.25", "7")
    assert "PARAMETER temperature 0.25\nPARAMETER top_k 7\n" in shown.modelfile
    assert 'SYSTEM """Be brief."""' in shown.modelfile


def test_llama_servers_clients_are_told_them(url, asked):
    with httpx2.Client(base_url=url, trust_env=False) as http:
        params = http.get("/props").json()["default_generation_settings"]["params"]
        told = http.post("/completion", json={"prompt": "Hi", "top_k": 3}).json()
        length = http.post("/v1/messages/count_tokens", json={"messages": HI, "model": "own"})
    assert (params["temperature"], params["top_k"]) == (0.25, 7)
    settings = told["generation_settings"]
    assert (settings["temperature"], settings["top_k"]) == (0.25, 3)
    assert length.json()["input_tokens"] > len("user: Hi"), "with what the model will read"
