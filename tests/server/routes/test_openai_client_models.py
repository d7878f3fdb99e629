"""The real openai package: which model answers, and vectors."""

import base64
import math
import struct

import openai
import pytest
from server.server_fakes import live_server, served, served_embedding, words

from edgellm.chat.events import (
    Timings,
)

HI = [{"role": "user", "content": "Hi"}]


def test_a_model_answers_to_the_names_that_it_was_given():
    model = served(aliases=("small",))
    with (
        live_server(model, served_embedding(), aliases=("gpt-4o-mini", "*")) as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client,
    ):
        for name in ("gpt-4o-mini", "whatever"):
            assert client.chat.completions.create(model=name, messages=HI).model == "tiny"
        vectors = client.embeddings.create(model="text-embedding-3-small", input="x")
        assert vectors.model == "mini"
        assert [one.id for one in client.models.list()] == ["tiny", "mini"]
        assert client.models.retrieve("gpt-4o-mini").aliases == ["small", "gpt-4o-mini"]


def test_embeddings_come_as_base64_and_as_numbers(lenient):
    as_default = lenient.embeddings.create(model="mini", input="hello")  # the client asks base64
    as_numbers = lenient.embeddings.create(model="mini", input="hello", encoding_format="float")
    as_base64 = lenient.embeddings.create(model="mini", input="hello", encoding_format="base64")

    assert as_default.data[0].embedding == [0.5, 0.5, -0.5, 0.5]
    assert as_numbers.data[0].embedding == [0.5, 0.5, -0.5, 0.5]
    raw = base64.b64decode(as_base64.data[0].embedding)
    assert struct.unpack("<4f", raw) == (0.5, 0.5, -0.5, 0.5)
    assert as_numbers.usage.prompt_tokens == 3


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_cut_embeddings_have_length_one_again(lenient, encoding):
    [item] = lenient.embeddings.create(
        model="mini", input="hello", dimensions=2, encoding_format=encoding
    ).data
    vector = item.embedding
    if encoding == "base64":
        vector = struct.unpack("<2f", base64.b64decode(vector))
    assert vector == pytest.approx([math.sqrt(0.5)] * 2)


def test_embeddings_come_in_batches_and_of_token_ids(lenient, live):
    answer = lenient.embeddings.create(model="mini", input=["a", "b", "c"])
    assert [item.index for item in answer.data] == [0, 1, 2]
    lenient.embeddings.create(model="mini", input=[[1, 2], [3]])
    assert live.models.find("mini").engine.asked[-1][0] == ((1, 2), (3,))


def test_the_models_are_listed_and_shown(client, http):
    assert [model.id for model in client.models.list()] == ["tiny", "mini"]
    model = client.models.retrieve("small")
    assert model.id == "tiny"
    assert model.meta["n_ctx"] == 512
    assert [card["id"] for card in http.get("/v1/models/").json()["data"]] == ["tiny", "mini"]


@pytest.mark.parametrize("name", ["tiny", "TINY", "tiny:latest", "small", "tiny-q8_0.gguf",
                                  "/models/tiny-q8_0.gguf", "tiny-q8_0"])  # fmt: skip
def test_a_model_answers_to_all_its_names(client, name):
    assert client.chat.completions.create(model=name, messages=HI).model == "tiny"


def test_a_swapped_model_takes_over_the_next_request():
    old, new = served("demo", demo=True), served("real")
    new.engine.scripts = [words("I am real", timings=Timings(0, 0, 0))]
    with (
        live_server(old, served_embedding()) as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none") as client,
    ):
        assert client.chat.completions.create(model="", messages=HI).model == "demo"
        live.models.swap(old, new)
        answer = client.chat.completions.create(model="", messages=HI)
        assert (answer.model, answer.choices[0].message.content) == ("real", "I am real")
        assert [model.id for model in client.models.list()] == ["real", "mini"]
        assert answer.timings["predicted_per_second"] is None
