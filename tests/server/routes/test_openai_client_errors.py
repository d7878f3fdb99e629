"""The real openai package: each error is the client's own kind, with its words."""

import openai
import pytest
from server.server_fakes import live_server, served, words

from edgellm.chat.events import (
    Failed,
    TextDelta,
)
from edgellm.errors import BadRequest, ContextTooLong, Overloaded, WorkerDied
from edgellm.server.door.access import Access

HI = [{"role": "user", "content": "Hi"}]


def test_an_unknown_model_is_404_with_the_command_that_would_load_it(client):
    with pytest.raises(openai.NotFoundError, match="edgellm serve qwen3:8b") as raised:
        client.chat.completions.create(model="qwen3:8b", messages=HI)
    assert raised.value.code == "model_not_found"
    assert raised.value.param == "model"


def test_a_model_of_the_other_kind_is_400(client):
    with pytest.raises(openai.BadRequestError, match="is an embedding model"):
        client.chat.completions.create(model="mini", messages=HI)
    with pytest.raises(openai.BadRequestError, match="not an embedding model"):
        client.embeddings.create(model="tiny", input="x")


def test_a_full_queue_is_a_rate_limit_and_the_client_comes_back(live, engine):
    engine.scripts = [Overloaded("64 requests wait already"), words("now")]
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=1) as client:
        began = engine.asked
        answer = client.chat.completions.create(model="tiny", messages=HI)
    assert answer.choices[0].message.content == "now"
    assert len(began) == 2


def test_a_full_queue_is_429_with_retry_after(client, engine):
    engine.scripts = [Overloaded("64 requests wait already", hint="try later")]
    with pytest.raises(openai.RateLimitError, match="64 requests") as raised:
        client.chat.completions.create(model="tiny", messages=HI, stream=True)
    assert raised.value.response.headers["retry-after"] == "1"
    assert raised.value.code == "queue_full"


@pytest.mark.parametrize("stream", [False, True])
def test_an_early_failure_has_its_own_status(client, engine, stream):
    engine.scripts = [[Failed("900 tokens are more than 512", 400, "messages")]]
    with pytest.raises(openai.BadRequestError, match="900 tokens") as raised:
        client.chat.completions.create(model="tiny", messages=HI, stream=stream)
    assert raised.value.param == "messages"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_is_blamed_by_its_own_name(client, engine, stream):
    sizes = (900, 512)
    too_long = ContextTooLong("900 tokens are more than 512", param="messages", sizes=sizes)
    for script in ([Failed(str(too_long), 400, "messages", "ContextTooLong", sizes)], too_long):
        engine.scripts = [script]
        with pytest.raises(openai.BadRequestError) as raised:
            client.completions.create(model="tiny", prompt="Hi", stream=stream)
        assert raised.value.param == "prompt"
        assert raised.value.code == "context_length_exceeded"
        assert (raised.value.body["n_prompt_tokens"], raised.value.body["n_ctx"]) == sizes


@pytest.mark.parametrize("stream", [False, True])
def test_errors_that_the_engine_raises_have_their_status(client, engine, stream):
    for error, kind, code in (
        (ContextTooLong("too long"), openai.BadRequestError, "context_length_exceeded"),
        (WorkerDied("signal 9"), openai.InternalServerError, "worker_died"),
        (BadRequest("no", param="regex"), openai.BadRequestError, None),
    ):
        engine.scripts = [error]
        with pytest.raises(kind) as raised:
            client.chat.completions.create(model="tiny", messages=HI, stream=stream)
        assert raised.value.code == code


def test_a_failure_midway_raises_in_the_client(client, engine):
    engine.scripts = [[TextDelta("Hel"), Failed("the model's process ended with -9", 502)]]
    with client.chat.completions.create(model="tiny", messages=HI, stream=True) as stream:
        seen = []
        with pytest.raises(openai.APIError, match="ended with -9"):
            seen.extend(iter(stream))
    assert not seen or seen[0].choices[0].delta.role == "assistant"


def test_a_wrong_key_is_401_and_a_right_one_works():
    with live_server(served(), access=Access.of(keys=["right", "other"])) as live:
        with (
            openai.OpenAI(base_url=f"{live.url}/v1", api_key="wrong") as stranger,
            pytest.raises(openai.AuthenticationError) as raised,
        ):
            stranger.models.list()
        assert raised.value.code == "invalid_api_key"
        with openai.OpenAI(base_url=f"{live.url}/v1", api_key="other") as friend:
            assert friend.models.list().data


def test_who_uploads_a_file_is_told_where_one_may_go(client):
    with pytest.raises(openai.APIStatusError, match="audio/transcriptions takes a file") as raised:
        client.files.create(file=b"RIFF", purpose="batch")
    assert raised.value.status_code in (404, 415)
