"""Responses that are kept, by the openai package over a real socket."""

import itertools
import random
from functools import partial

import httpx2
import openai
import pytest
from server.server_fakes import HANG, FakeEngine, clients_of, live_server, plan, served, words

from edgellm.chat.events import Finished, ReasoningDelta, TextDelta, ToolCallDelta
from edgellm.keys import plain
from edgellm.server.door.access import Access

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
CALL = (ToolCallDelta(0, "call_1", "weather", "{}"), Finished("tool_calls", 1, 0, 3))
RAIN = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}


def ask(client, input="Hi", **more):
    return client.responses.create(**({"model": "tiny", "input": input} | more))


def prompts(engine):
    return [prompt for prompt, _ in engine.asked]


def test_a_response_goes_on_where_another_ended(client, engine):
    first = ask(client, instructions="Be brief.")
    assert (first.store, first.previous_response_id) == (True, None)
    second = ask(client, "And then?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    third = ask(client, "And?", previous_response_id=second.id, instructions="Be long.")
    assert third.output_text == "Hello there"
    talk = "user: Hi\nassistant: Hello there\nuser: And then?\nassistant:"
    assert prompts(engine)[1] == talk, "instructions are the request's own"
    assert prompts(engine)[2] == f"system: Be long.\n{talk} Hello there\nuser: And?\nassistant:"


def test_one_may_be_followed_twice(client, engine):
    first = ask(client)
    ask(client, "A", previous_response_id=first.id)
    ask(client, "B", previous_response_id=first.id)
    begin = "user: Hi\nassistant: Hello there\nuser: "
    assert prompts(engine)[1:] == [f"{begin}A\nassistant:", f"{begin}B\nassistant:"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_calls_output_is_sent_alone(client, engine, stream):
    engine.scripts = [[ReasoningDelta("Hm."), TextDelta("I look."), *CALL], words("It rains")]
    if stream:
        with ask(client, tools=[WEATHER], stream=True) as events:
            first = list(events)[-1].response
    else:
        first = ask(client, tools=[WEATHER])
    answer = ask(client, [RAIN], previous_response_id=first.id, tools=[WEATHER])
    assert answer.output_text == "It rains"
    whole = [{"role": "user", "content": "Hi"}, *(one.model_dump() for one in first.output), RAIN]
    ask(client, whole, tools=[WEATHER])
    assert prompts(engine)[1] == prompts(engine)[2]


def test_who_reads_the_end_of_a_stream_may_go_on_at_once(client, engine):
    with ask(client, stream=True) as events:
        for event in events:
            if event.type == "response.completed":
                ask(client, "More", previous_response_id=event.response.id)
    assert "Hello there\nuser: More" in prompts(engine)[1]


def test_it_is_shown_as_it_was_told(client):
    told = ask(client, metadata={"a": "b"}, tools=[WEATHER])
    assert client.responses.retrieve(told.id) == told


def test_what_is_kept_is_told_in_the_status_and_in_metrics(live, client):
    def status():
        return httpx2.get(f"{live.url}/edgellm/status").json()["responses"]

    n_before, told = status()["n_kept"], ask(client)
    now = status()
    assert (now["n_kept"], now["n_running"]) == (n_before + 1, 0)
    assert 0 < now["kept_bytes"] < now["most_bytes"]
    scraped = httpx2.get(f"{live.url}/metrics").text
    assert f"edgellm_responses_kept {float(n_before + 1)}" in scraped
    assert f"edgellm_responses_kept_bytes {float(now['kept_bytes'])}" in scraped
    client.responses.delete(told.id)
    assert status()["n_kept"] == n_before


@pytest.mark.parametrize(
    ("path", "instead"),
    [
        ("/v1/responses/compact", 'truncation: "auto"'),
        ("/v1/conversations", "previous_response_id"),
    ],
)
def test_what_openai_does_beside_is_refused_with_what_does_the_same(live, path, instead):
    answer = httpx2.post(f"{live.url}{path}", json={"model": "tiny", "input": "Hi"})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith(f"{path} is not served here; ")
    assert instead in answer.json()["error"]["message"]


@pytest.mark.parametrize("v1", ["/v1", ""])
def test_who_wants_a_translation_of_a_recording_is_told_how_it_is_asked_for(live, v1):
    files = {"file": b"RIFF"}
    answer = httpx2.post(f"{live.url}{v1}/audio/translations", files=files, data={"model": "tiny"})
    told = answer.json()["error"]
    assert (answer.status_code, told["code"]) == (404, "not_served")
    assert "/v1/audio/transcriptions does what its prompt says" in told["message"]


def test_a_deleted_one_is_gone(client):
    first = ask(client)
    second = ask(client, previous_response_id=first.id)
    client.responses.delete(first.id)
    for gone in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError, match=f"Response with id '{first.id}' not found"):
            gone(first.id)
    assert client.responses.retrieve(second.id) == second
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, previous_response_id=second.id)
    assert raised.value.code == "previous_response_not_found"


def test_a_delete_is_answered_as_openai_answers_it(client, http):
    id = ask(client).id
    answer = http.delete(f"/v1/responses/{id}")
    assert answer.json() == {"id": id, "object": "response", "deleted": True}


def test_what_shall_not_be_stored_is_not(client):
    told = ask(client, store=False)
    assert told.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(told.id)
    with pytest.raises(openai.BadRequestError, match="not found"):
        ask(client, previous_response_id=told.id)


def test_one_that_was_not_in_the_background_cant_be_cancelled(client):
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(ask(client).id)


def test_the_input_is_listed_with_what_came_before_it(client, engine):
    engine.scripts = [[ReasoningDelta("Hm."), TextDelta("I look."), *CALL], words("It rains")]
    parts = [{"type": "input_text", "text": "Hi"}]
    first = ask(client, [{"role": "user", "content": parts}], tools=[WEATHER])
    second = ask(client, [RAIN], previous_response_id=first.id)
    found = list(client.responses.input_items.list(second.id, order="asc", limit=2))
    assert [one.type for one in found] == [
        "message", "reasoning", "message", "function_call", "function_call_output"
    ]  # fmt: skip
    assert found[0].content[0].text == "Hi"
    assert [one.id for one in found[1:4]] == [one.id for one in first.output]
    assert found[2].content[0].text == "I look."
    assert len({one.id for one in found}) == 5
    backwards = list(client.responses.input_items.list(second.id))
    assert backwards == found[::-1]


@pytest.mark.parametrize(
    "item",
    [
        {"role": "system", "content": "a"},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "+"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"},
        {"type": "function_call_output", "call_id": "c",
         "output": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "a"}]},
        {"type": "additional_tools", "role": "developer", "tools": [WEATHER]},
    ],
)  # fmt: skip
def test_each_kind_of_input_is_listed_as_the_packages_types_require(client, item):
    told = ask(client, [{"role": "user", "content": "Hi"}, item])
    newest = next(iter(client.responses.input_items.list(told.id)))
    assert newest.type == item.get("type", "message")
    assert newest.id


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("order=up", "order"),
     ("after=msg_9", "after"), ("limit=-1", "limit"), ("limit=%00", "limit")],
)  # fmt: skip
def test_a_list_that_cant_be_is_refused_by_its_word(client, http, query, param):
    answer = http.get(f"/v1/responses/{ask(client).id}/input_items?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_no_key_has_another_keys_responses():
    access = Access.of(keys=plain(["alice", "bob"]))
    with (
        live_server(served(), access=access) as live,
        clients_of(live, "alice", "bob") as (alice, bob),
    ):
        told = ask(alice)
        assert alice.responses.retrieve(told.id) == told
        item = {"type": "item_reference", "id": told.output[0].id}
        for taken in (
            partial(bob.responses.retrieve, told.id),
            partial(bob.responses.delete, told.id),
            partial(bob.responses.cancel, told.id),
            partial(bob.responses.input_items.list, told.id),
        ):
            with pytest.raises(openai.NotFoundError, match="not found"):
                taken()
        for more in ({"previous_response_id": told.id}, {"input": [item]}):
            with pytest.raises(openai.BadRequestError, match="not found"):
                ask(bob, **more)
            ask(alice, **more)


def test_another_model_may_go_on_with_it():
    both = served("tiny"), served("other", engine=FakeEngine(plan("other", file="other.gguf")))
    with live_server(*both) as live, clients_of(live, "none") as [client]:
        first = ask(client)
        second = ask(client, "More", model="other", previous_response_id=first.id)
        assert (first.model, second.model) == ("tiny", "other")
        [(prompt, _)] = live.models.find("other").engine.asked
        assert prompt == "user: Hi\nassistant: Hello there\nuser: More\nassistant:"


def test_the_oldest_go_when_there_is_no_more_room():
    with live_server(served(), responses_bytes=5_000) as live, clients_of(live, "none") as [client]:
        first, *_, last = [ask(client, f"Hi {n}") for n in range(10)]
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)
        assert client.responses.retrieve(last.id) == last
        assert live.app.state.store.n_bytes <= 5_000


def test_who_keeps_nothing_says_so():
    with live_server(served(), responses_bytes=0) as live, clients_of(live, "none") as [client]:
        told = ask(client, store=True)
        assert told.store is False
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(told.id)
        with pytest.raises(openai.BadRequestError, match="response_memory is 0") as raised:
            ask(client, previous_response_id=told.id)
        assert raised.value.code == "previous_response_not_found"
        with pytest.raises(openai.BadRequestError) as raised:
            ask(client, background=True)
        assert raised.value.param == "background"


def test_a_conversation_that_outgrows_the_context_goes_on_with_its_newer_part(client, engine):
    told = ask(client, "a" * 100, instructions="s", truncation="auto", max_output_tokens=16)
    for n in range(9):
        told = ask(
            client, f"{n}" * 100, instructions="s", previous_response_id=told.id,
            truncation="auto", max_output_tokens=16,
        )  # fmt: skip
    assert told.truncation == "auto"
    asked = [bytes(tokens[1:]).decode() for tokens in prompts(engine)]
    assert all(len(one) < 512 - 16 for one in asked)
    assert all(one.startswith("system: s\nuser: ") for one in asked)
    assert all(
        one.endswith(f"user: {n}" + f"{n}" * 99 + "\nassistant:") for n, one in enumerate(asked[1:])
    )
    items = client.responses.input_items.list(told.id, limit=100).data
    assert len(items) == 19, "what is kept is whole"


def test_without_being_asked_nothing_is_left_out(client, engine):
    told = ask(client, "a" * 300)
    assert told.truncation == "disabled"
    ask(client, "b" * 300, previous_response_id=told.id, truncation="disabled")
    assert "a" * 300 in prompts(engine)[1]


def test_a_conversation_counts_as_if_it_had_been_sent():
    access = Access.of(all_bodies_bytes=100_000)
    with live_server(served(), access=access) as live, clients_of(live, "none") as [client]:
        live.models.find("tiny").engine.scripts = [
            [TextDelta("a" * 100_000), Finished("stop", 7, 3, 5)]
        ]
        told = ask(client)
        with pytest.raises(openai.InternalServerError) as raised:
            ask(client, previous_response_id=told.id)
        assert raised.value.code == "bodies_full"


def test_the_tokens_of_a_conversation_are_counted(client, engine):
    told = ask(client)
    counted = client.responses.input_tokens.count(
        model="tiny", input="More", previous_response_id=told.id
    )
    ask(client, "More", previous_response_id=told.id)
    assert counted.input_tokens == len(prompts(engine)[1].encode()) + 1


def test_what_was_said_until_its_client_left_can_be_gone_on_with(client, engine):
    engine.scripts = [[TextDelta("Hel"), HANG], words("Hello there")]
    with ask(client, stream=True) as stream:
        told = next(iter(stream)).response
        next(event for event in stream if event.type == "response.output_text.delta")
    assert engine.cancelled.wait(20)
    for _ in range(2000):
        answer = httpx2.get(f"{client.base_url}responses/{told.id}")
        if answer.status_code == 200:
            break
    assert answer.json()["status"] == "cancelled"
    ask(client, "Go on", previous_response_id=told.id)
    assert prompts(engine)[1] == "user: Hi\nassistant: Hel\nuser: Go on\nassistant:"


@pytest.mark.parametrize("seed", range(5))
def test_no_id_and_no_query_breaks_the_server(client, http, seed):
    rng = random.Random(seed)
    real = ask(client).id
    letters = "resp_0123456789abcdef%/.?&=#\x00é😀\\\"' \n"
    verbs = [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]
    for verb, end in itertools.chain.from_iterable(itertools.repeat(verbs, 25)):
        id = "".join(rng.choices(letters, k=rng.randrange(1, 60)))
        id = rng.choice([id, real + id, real[: rng.randrange(len(real))] + id])
        query = "".join(rng.choices("stream=true&starting_after=limit0123456789", k=20))
        path = f"/v1/responses/{httpx2.URL('http://x', params={'q': id}).query.decode()[2:]}{end}"
        answer = http.request(verb, f"{path}?{query}")
        assert answer.status_code in (200, 400, 404, 405), (path, answer.text)
        if answer.status_code != 200:
            assert answer.json()["error"]["message"]
    assert client.responses.retrieve(real).id == real


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": 7},
        {"previous_response_id": {"id": "resp_1"}},
        {"previous_response_id": ["resp_1"]},
        {"previous_response_id": "x" * 513},
        {"background": "yes"},
        {"background": 1},
        {"store": "no"},
        {"background": True, "store": False},
        {"previous_response_id": "resp_\x00"},
        {"conversation": "conv_1", "previous_response_id": "resp_1"},
    ],
)
def test_a_body_that_cant_be_is_refused_by_its_field(http, engine, more):
    answer = http.post("/v1/responses", json={"input": "Hi"} | more)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in more
    assert engine.asked == []
