"""The real anthropic package against a live server."""

import asyncio

import anthropic
import httpx2
import pytest
from pictures import data_url, png
from server.server_fakes import (
    HANG,
    FakeEngine,
    call_cut_at,
    live_server,
    plan,
    served,
    words,
)

from edgellm.chat.events import Failed, Finished, ReasoningDelta, TextDelta
from edgellm.errors import DeadlinePassed, NotServing, Overloaded, WorkerDied
from edgellm.server.door.access import Access

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def client(live):
    with anthropic.Anthropic(
        base_url=live.url, api_key="none", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def ask(client, **more):
    return client.messages.create(**({"model": "tiny", "max_tokens": 9, "messages": HI} | more))


def test_a_message_is_answered(client, engine):
    message = ask(client)
    assert (message.type, message.role, message.model) == ("message", "assistant", "tiny")
    assert message.id.startswith("msg_")
    assert [(block.type, block.text) for block in message.content] == [("text", "Hello there")]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (4, 3, 2)
    assert usage.cache_creation_input_tokens == 0
    prompt, params = engine.asked[0]
    assert prompt == "user: Hi\nassistant:"
    assert params.max_tokens == 9


def test_the_same_path_without_its_version_and_with_a_query(live, client):
    answers = [
        client.post(f"{live.url}{path}", body={"max_tokens": 9, "messages": HI}, cast_to=object)
        for path in ("/messages", "/v1/messages?beta=true")
    ]
    assert [one["content"][0]["text"] for one in answers] == ["Hello there", "Hello there"]


def test_a_prompt_is_read_for_the_next_one_to_find(client, engine):
    message = ask(client, max_tokens=0)
    assert (message.content, message.stop_reason) == ([], "max_tokens")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (4, 0)
    assert engine.asked[0][1].cache_prompt


def test_a_stream_adds_up_to_the_whole_message(client):
    with client.messages.stream(model="tiny", max_tokens=9, messages=HI) as stream:
        events = [event.type for event in stream if event.type != "text"]
        told = stream.get_final_message()
    assert events == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    whole = ask(client)
    assert told.content[0].text == whole.content[0].text
    assert told.usage.input_tokens == whole.usage.input_tokens
    assert told.usage.cache_read_input_tokens == whole.usage.cache_read_input_tokens


def test_a_stream_begins_with_the_prompts_length_which_is_read_once(client, engine):
    first = next(iter(ask(client, stream=True)))
    n = client.messages.count_tokens(model="tiny", messages=HI).input_tokens
    assert first.message.usage.input_tokens == n > 0
    assert len(engine.asked[0][0]) == n  # tokens, not their text


def test_a_client_that_leaves_cancels_its_message(client, engine):
    engine.scripts = [[TextDelta("Hel"), HANG]]
    with ask(client, stream=True) as stream:
        next(iter(stream))
    assert engine.cancelled.wait(60)


class LoadingEngine(FakeEngine):
    """Whoever asks for a prompt's length waits for the model."""

    async def tokenize(self, text, add_special, **how):
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


def test_a_client_that_leaves_while_the_model_loads_is_waited_for_no_longer():
    engine = LoadingEngine(plan())
    body = {"model": "tiny", "max_tokens": 9, "messages": HI, "stream": True}

    async def leave(url):
        async with httpx2.AsyncClient(timeout=60) as http:
            asking = asyncio.create_task(http.post(f"{url}/v1/messages", json=body))
            assert await asyncio.to_thread(engine.begun.wait, 20)
            asking.cancel()
            await asyncio.wait({asking})

    with live_server(served(engine=engine)) as live:
        asyncio.run(leave(live.url))
        assert engine.cancelled.wait(20)
    assert not engine.asked


@pytest.mark.parametrize(("display", "shown"), [("summarized", "Hm, a greeting"), ("omitted", "")])
def test_thoughts_are_blocks_of_their_own_and_their_tokens_are_told(client, engine, display, shown):
    thoughts = [ReasoningDelta("Hm,"), ReasoningDelta(" a greeting")]
    engine.scripts = [[*thoughts, TextDelta("Hi"), Finished("stop", 7, 3, 9, n_reasoning=6)]]
    thinking = {"type": "adaptive", "display": display}
    wish = {"model": "tiny", "max_tokens": 9, "messages": HI, "thinking": thinking}
    with client.messages.stream(**wish) as stream:
        told = stream.get_final_message()
    whole = ask(client, **wish)
    for message in (told, whole):
        thought, text = message.content
        assert (thought.type, thought.thinking) == ("thinking", shown)
        assert thought.signature
        assert (text.type, text.text) == ("text", "Hi")
    assert whole.usage.output_tokens_details.thinking_tokens == 6
    talk = [*HI, {"role": "assistant", "content": whole.content}, *HI]
    assert ask(client, messages=talk).content


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (Overloaded("full"), anthropic.RateLimitError, "rate_limit_error"),
        (NotServing("loading"), anthropic.InternalServerError, "overloaded_error"),
        (DeadlinePassed("late"), anthropic.InternalServerError, "timeout_error"),
        (WorkerDied("gone"), anthropic.InternalServerError, "api_error"),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_an_error_before_the_first_word_is_the_clients_own_class(error, kind, word, streams):
    engine = FakeEngine(plan(), [error])
    with (
        live_server(served(engine=engine)) as live,
        anthropic.Anthropic(base_url=live.url, api_key="none", max_retries=0) as client,
        pytest.raises(kind) as caught,
    ):
        ask(client, stream=streams)
    assert caught.value.type == word
    assert caught.value.request_id.startswith("req_")
    assert caught.value.body["request_id"] == caught.value.request_id
    retry_after = caught.value.response.headers.get("retry-after")
    assert retry_after == {429: "1", 503: "2"}.get(caught.value.status_code)


def test_a_worker_that_dies_in_a_stream_is_an_error_event():
    engine = FakeEngine(plan(), [[TextDelta("Hel"), Failed("gone", 502, kind="WorkerDied")]])
    with (
        live_server(served(engine=engine)) as live,
        anthropic.Anthropic(base_url=live.url, api_key="none", max_retries=0) as client,
    ):
        seen = []
        with pytest.raises(anthropic.APIStatusError) as caught:
            seen.extend(event.type for event in ask(client, stream=True))
    assert (caught.value.type, caught.value.error_code) == ("api_error", "worker_died")


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"model": "nobody"}, anthropic.NotFoundError, "no model 'nobody' is served here"),
        ({"max_tokens": -1}, anthropic.BadRequestError, "max_tokens: -1 is not a whole number"),
        (
            {"messages": [{"role": "user", "content": [{"type": "container_upload"}]}]},
            anthropic.BadRequestError,
            "messages[0].content[0]: a block of type 'container_upload' is not served here",
        ),
        ({"system": "x" * (17 << 20)}, anthropic.RequestTooLargeError, "the body is larger"),
    ],
)
def test_a_request_that_cannot_be_served_is_the_clients_own_class(client, more, kind, words):
    with pytest.raises(kind) as caught:
        ask(client, **more)
    assert words in caught.value.api_message


def test_the_key_is_taken_from_either_header():
    with live_server(served(), access=Access.of(keys=["secret"])) as live:

        def client(**key):
            return anthropic.Anthropic(base_url=live.url, max_retries=0, **key)

        assert ask(client(api_key="secret")).content
        assert ask(client(auth_token="secret")).content
        with pytest.raises(anthropic.AuthenticationError) as caught:
            ask(client(api_key="wrong"))
    assert caught.value.type == "authentication_error"


def test_pictures_are_refused_by_a_model_that_sees_none(client):
    image = {"type": "image", "source": {"type": "url", "url": data_url(png())}}
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(client, messages=[{"role": "user", "content": [image]}])
    assert "tiny sees no pictures" in caught.value.api_message
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.count_tokens(model="tiny", messages=[{"role": "user", "content": [image]}])
    assert "only when they are seen" in caught.value.api_message


def test_the_models_are_listed_in_its_words(live, client):
    page = client.models.list()
    assert [(one.id, one.type, one.max_input_tokens) for one in page] == [
        ("tiny", "model", 512),
        ("mini", "model", 512),
    ]
    assert (page.has_more, page.first_id, page.last_id) == (False, "tiny", "mini")
    tiny = client.models.retrieve("tiny")
    assert (tiny.display_name, tiny.lifecycle, tiny.max_tokens) == ("tiny", "active", 512)


def test_a_stop_string_of_the_clients_is_told():
    ended = words("Hello END")
    ended[-1] = type(ended[-1])("stop", 7, 3, 2, stop_word="END")
    with (
        live_server(served(engine=FakeEngine(plan(), [ended]))) as live,
        anthropic.Anthropic(base_url=live.url, api_key="none", max_retries=0) as client,
    ):
        message = ask(client, stop_sequences=["END"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")


def test_an_answer_that_has_begun_goes_on(client, engine):
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The answer is"}]
    told = client.messages.create(model="tiny", messages=talk, max_tokens=9)
    assert told.content[0].text == "Hello there"
    assert engine.asked[-1][0] == "user: Hi\nassistant: The answer is"


@pytest.mark.parametrize("streams", [False, True])
def test_a_stop_sequence_inside_a_call_is_told_and_no_use_of_a_tool(client, engine, streams):
    engine.scripts = [call_cut_at("\n\n")]
    tools = [{"name": "weather", "input_schema": {"type": "object"}}]
    wish = {"model": "tiny", "max_tokens": 9, "messages": HI, "tools": tools}
    wish["stop_sequences"] = ["\n\n"]
    if streams:
        with client.messages.stream(**wish) as stream:
            *_, (ending,) = [(one.delta,) for one in stream if one.type == "message_delta"]
    else:
        ending = client.messages.create(**wish)
    assert (ending.stop_reason, ending.stop_sequence) == ("stop_sequence", "\n\n")
