"""Anthropic's API: the real anthropic package, a real server, a real model."""

import base64

import anthropic
import openai
import pytest
from live import live_server
from pictures import png
from projector_files import projector_bytes
from real_model import demo_path

pytestmark = pytest.mark.model

HELLO = [{"role": "user", "content": "Hello!"}]
WEATHER = {
    "name": "weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
CLOCK = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}
RED, BLUE = (255, 0, 0), (0, 0, 255)
NAMED = {"type": "tool", "name": "weather"}


@pytest.fixture(scope="module")
def live():
    with live_server(kv_unified=False, n_ctx=8192, n_ctx_seq=1024) as live:
        yield live


@pytest.fixture(scope="module")
def client(live):
    with anthropic.Anthropic(base_url=live.url, api_key="none", max_retries=0) as client:
        yield client


def wish(**more):
    return {"model": "demo", "messages": HELLO, "temperature": 0, "max_tokens": 40} | more


def ask(client, **more):
    values = wish(**more)
    return client.messages.create(extra_body={"temperature": values.pop("temperature")}, **values)


def streamed(client, **more):
    values = wish(**more)
    body = {"temperature": values.pop("temperature")}
    with client.messages.stream(extra_body=body, **values) as stream:
        kinds = [event.type for event in stream]
        return kinds, stream.get_final_message()


def image(colour):
    data = base64.b64encode(png(colour=colour)).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    return {"type": "image", "source": source}


def read(usage):
    return usage.input_tokens + usage.cache_read_input_tokens


def test_a_message_and_its_stream_are_the_same(client):
    whole = ask(client, system="Be brief.", max_tokens=20)
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    kinds, told = streamed(client, system=system, max_tokens=20)
    assert whole.content[0].text
    assert told.content[0].text == whole.content[0].text
    assert (told.stop_reason, whole.stop_reason) == ("max_tokens", "max_tokens")
    assert told.usage.output_tokens == whole.usage.output_tokens == 20
    assert read(told.usage) == read(whole.usage)
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_delta") > 5


def test_a_second_reading_of_the_same_prompt_is_told_as_cached(client):
    talk = [{"role": "user", "content": "Tell me of a fox, a river and a long bridge."}]
    first, second = (ask(client, messages=talk).usage for _ in range(2))
    assert read(first) == read(second)
    assert second.input_tokens < first.input_tokens
    assert second.cache_read_input_tokens > first.cache_read_input_tokens


def test_the_count_is_what_the_message_takes_and_what_openais_words_take(live, client):
    system, talk = "Be brief.", [*HELLO, {"role": "assistant", "content": "Hi."}, *HELLO]
    counted = client.messages.count_tokens(model="demo", system=system, messages=talk)
    usage = ask(client, system=system, messages=talk).usage
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as other:
        same = other.chat.completions.create(
            model="demo", messages=[{"role": "system", "content": system}, *talk], max_tokens=1
        )
    assert counted.input_tokens == read(usage) == same.usage.prompt_tokens
    with_tools = client.messages.count_tokens(
        model="demo", system=system, messages=talk, tools=[WEATHER]
    )
    assert with_tools.input_tokens > counted.input_tokens
    assert read(ask(client, system=system, messages=talk, tools=[WEATHER]).usage) == (
        with_tools.input_tokens
    )


def test_a_stop_sequence_ends_the_message_and_is_told(client):
    text = ask(client).content[0].text
    stop = text.split()[2]
    message = ask(client, stop_sequences=["@@@", stop])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", stop)
    assert message.content[0].text == text[: text.index(stop)]
    assert streamed(client, stop_sequences=[stop])[1].stop_sequence == stop


@pytest.mark.parametrize("choice", [NAMED, {"type": "any", "disable_parallel_tool_use": True}])
def test_a_call_that_must_come_comes_and_its_result_goes_back(client, choice):
    asked = {"tools": [WEATHER, CLOCK], "tool_choice": choice, "max_tokens": 200}
    message = ask(client, **asked)
    [call] = message.content
    assert (message.stop_reason, call.type) == ("tool_use", "tool_use")
    if call.name == "weather":
        assert call.input["city"] in ("Rome", "Oslo")
    else:
        assert (call.name, choice["type"]) == ("clock", "any")
    _, told = streamed(client, **asked)
    assert (told.content[0].name, told.content[0].input) == (call.name, call.input)
    assert told.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny", "is_error": True}
    talk = [
        *HELLO,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result, {"type": "text", "text": "Well?"}]},
    ]
    after = ask(client, messages=talk, tools=[WEATHER, CLOCK], tool_choice={"type": "none"})
    assert after.content[0].type == "text"


def test_a_schema_binds_the_text(client):
    schema = WEATHER["input_schema"]
    message = ask(
        client, output_config={"format": {"type": "json_schema", "schema": schema}}, max_tokens=200
    )
    assert message.content[0].text.replace(" ", "") in ('{"city":"Rome"}', '{"city":"Oslo"}')


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("more", "kind", "word", "code"),
    [
        ({"model": "nobody"}, anthropic.NotFoundError, "not_found_error", "model_not_found"),
        (
            {"messages": [{"role": "user", "content": "word " * 2000}]},
            anthropic.BadRequestError,
            "invalid_request_error",
            "context_length_exceeded",
        ),
    ],
)
def test_an_error_is_the_clients_own_class(client, more, kind, word, code, stream):
    with pytest.raises(kind) as caught:
        ask(client, stream=stream, **more)
    assert (caught.value.type, caught.value.error_code) == (word, code)
    assert caught.value.request_id


def test_pictures_are_seen_also_in_a_result(tmp_path, client):
    """Of random weights: another answer for another picture is all that can be said of it."""
    projector = tmp_path / "mmproj.gguf"
    projector.write_bytes(projector_bytes())
    with (
        live_server(demo_path(), "sees", projector=str(projector), kv_unified=False) as live,
        anthropic.Anthropic(base_url=live.url, api_key="none", max_retries=0) as seer,
    ):

        def answer(colour, **more):
            content = [image(colour), {"type": "text", "text": "What is it?"}]
            return ask(seer, model="sees", messages=[{"role": "user", "content": content}], **more)

        red, blue = answer(RED), answer(BLUE)
        assert red.content[0].text != blue.content[0].text
        assert read(red.usage) > 20
        start, *_, last, _stop = answer(RED, stream=True)
        assert start.message.usage.input_tokens == 0  # nobody knows before it is seen
        assert read(last.usage) == read(red.usage)

        def n_tokens(*blocks):
            call = {"type": "tool_use", "id": "a", "name": "clock", "input": {}}
            result = {"type": "tool_result", "tool_use_id": "a", "content": list(blocks)}
            talk = [
                *HELLO,
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [result]},
            ]
            return read(ask(seer, model="sees", messages=talk, max_tokens=1).usage)

        asked = [{"role": "user", "content": "What is it?"}]
        counted = seer.messages.count_tokens(model="sees", messages=asked).input_tokens
        assert n_tokens(image(RED)) - n_tokens() == read(red.usage) - counted > 0
    with pytest.raises(anthropic.BadRequestError, match="--mmproj"):
        ask(client, messages=[{"role": "user", "content": [image(RED)]}])


def test_the_model_is_listed(client):
    assert [(one.id, one.max_input_tokens) for one in client.models.list()] == [("demo", 1024)]
