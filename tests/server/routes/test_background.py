"""Responses that go on without their client, by the openai package over a real socket."""

import asyncio
import contextlib
import random

import openai
import pytest
from server.server_fakes import HANG, clients_of, live_server, served, words

from edgellm.chat.events import Failed, Finished, TextDelta, Timings
from edgellm.errors import Overloaded
from edgellm.keys import plain
from edgellm.server.door.access import Access
from edgellm.server.door.bodies import Bodies, Hold
from edgellm.server.openai.wire import Head
from edgellm.server.responses.answers import ResponseStream
from edgellm.server.responses.requests import response_request
from edgellm.server.responses.store import Store
from edgellm.server.routes.background import MOST, Running

HANGS = [TextDelta("Hel"), HANG]


def begin(client, input="Hi", **more):
    return client.responses.create(model="tiny", input=input, background=True, **more)


def ended(client, id):
    """Asked for until it has; each time is a request of its own, so it is no busy loop."""
    for _ in range(5000):
        told = client.responses.retrieve(id)
        if told.status not in ("queued", "in_progress"):
            return told
    raise AssertionError(f"still {told.status}")


def running(live):
    return live.app.state.background._running


def test_it_is_queued_and_ends_though_nobody_waits(client, engine):
    told = begin(client)
    assert (told.status, told.background, told.store, told.output) == ("queued", True, True, [])
    found = ended(client, told.id)
    assert (found.status, found.output_text) == ("completed", "Hello there")
    assert found.usage.output_tokens == 2
    client.responses.create(model="tiny", input="More", previous_response_id=told.id)
    assert engine.asked[1][0] == "user: Hi\nassistant: Hello there\nuser: More\nassistant:"


def test_while_it_runs_it_is_shown_and_cant_be_gone_on_with(client, engine, live):
    engine.scripts = [HANGS]
    told = begin(client)
    assert engine.begun.wait(20)
    assert client.responses.retrieve(told.id).status in ("queued", "in_progress")
    assert next(iter(client.responses.input_items.list(told.id))).content[0].text == "Hi"
    with pytest.raises(openai.BadRequestError, match="has not ended") as raised:
        client.responses.create(model="tiny", input="More", previous_response_id=told.id)
    assert raised.value.param == "previous_response_id"
    client.responses.cancel(told.id)


def test_a_cancelled_one_keeps_what_was_said(client, engine, live):
    engine.scripts = [HANGS]
    told = begin(client, stream=True)
    next(event for event in told if event.type == "response.output_text.delta")
    id = next(iter(running(live)))
    found = client.responses.cancel(id)
    assert (found.status, found.output_text, found.error) == ("cancelled", "Hel", None)
    assert engine.cancelled.wait(20)
    assert client.responses.cancel(id) == found == client.responses.retrieve(id)
    *_, last = told
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")
    assert not running(live)


def test_cancelling_one_that_has_ended_changes_nothing(client):
    told = ended(client, begin(client).id)
    assert client.responses.cancel(told.id) == told


def test_a_deleted_one_ends_and_is_gone(client, engine, live):
    engine.scripts = [HANGS]
    told = begin(client)
    client.responses.delete(told.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(told.id)
    assert not running(live)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (Overloaded("64 wait"), "rate_limit_exceeded"),
        ([TextDelta("Hel"), Failed("the model's process ended with -9", 502)], "server_error"),
        ([TextDelta("Hel"), ValueError("secret")], "server_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_one_that_fails_tells_why(client, engine, script, code, stream):
    engine.scripts = [script]
    if stream:
        with begin(client, stream=True) as told:
            *_, last = told
        assert last.type == "response.failed"
        id = last.response.id
    else:
        id = begin(client).id
    found = ended(client, id)
    assert (found.status, found.error.code) == ("failed", code)
    assert "secret" not in found.error.message


def test_a_request_that_cant_be_is_refused_at_once(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.responses.create(model="nobody", input="Hi", background=True)
    assert raised.value.code == "model_not_found"


def test_its_stream_is_numbered_from_created_by_queued_to_its_end(client):
    with begin(client, stream=True) as stream:
        events = list(stream)
    assert [event.type for event in events[:3]] == [
        "response.created", "response.queued", "response.in_progress"
    ]  # fmt: skip
    assert [event.response.status for event in events[:3]] == ["queued", "queued", "in_progress"]
    assert [event.sequence_number for event in events] == [*range(len(events))]
    assert events[-1].response.output_text == "Hello there"


def test_who_leaves_its_stream_may_read_on(client, engine, live):
    engine.scripts = [HANGS]
    with begin(client, stream=True) as stream:
        seen = next(event for event in stream if event.type == "response.output_text.delta")
    [id] = running(live)
    assert not engine.cancelled.is_set()
    again = client.responses.retrieve(id, stream=True, starting_after=seen.sequence_number - 1)
    assert next(again) == seen
    client.responses.cancel(id)
    rest = list(again)
    assert [event.sequence_number for event in rest] == [
        seen.sequence_number + 1 + i for i in range(len(rest))
    ]
    whole = list(client.responses.retrieve(id, stream=True))
    assert whole[seen.sequence_number :] == [seen, *rest]


@pytest.mark.parametrize("starting_after", [0, 3, 10**8])
def test_one_that_has_ended_is_streamed_again(client, starting_after):
    with begin(client, stream=True) as stream:
        events = list(stream)
    id = events[0].response.id
    again = client.responses.retrieve(id, stream=True, starting_after=starting_after)
    assert list(again) == events[starting_after + 1 :]


@pytest.mark.parametrize("more", [{"background": True}, {}])
def test_what_was_no_stream_of_the_background_is_streamed_by_nobody(client, more):
    told = client.responses.create(model="tiny", input="Hi", **more)
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.retrieve(told.id, stream=True)
    assert raised.value.param == "stream"


@pytest.mark.parametrize("text", ["x", "-2", "1e3", "٣", "99999999999"])
def test_a_place_that_cant_be_is_refused(client, http, text):
    with begin(client, stream=True) as stream:
        id = next(iter(stream)).response.id
    answer = http.get(f"/v1/responses/{id}", params={"stream": "true", "starting_after": text})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "starting_after")


def test_a_key_has_no_more_than_its_part_of_them():
    access = Access.of(keys=plain(["a", "b"]))
    with live_server(served(), access=access) as live, clients_of(live, "a", "b") as (a, b):
        live.models.find("tiny").engine.scripts = [HANGS]
        ids = [begin(a).id for _ in range(MOST // 2)]
        with pytest.raises(openai.RateLimitError) as raised:
            begin(a)
        assert raised.value.code == "queue_full"
        with pytest.raises(openai.NotFoundError):
            b.responses.cancel(ids[0])
        begin(b)
        a.responses.cancel(ids[0])
        begin(a)


def test_they_end_with_the_server_each_once():
    with live_server(served()) as live:
        engine, app = live.models.find("tiny").engine, live.app
        engine.scripts = [HANGS]
        with clients_of(live, "none") as [client]:
            ids = [begin(client).id for _ in range(5)]
            assert engine.begun.wait(20)
    assert not app.state.background._running
    found = [app.state.store.find(id, "") for id in ids]
    assert all(b'"status":"cancelled"' in one.told for one in found)
    assert engine.n_open == 0


def test_the_memory_that_it_takes_is_given_back(client, engine, live):
    engine.scripts = [HANGS]
    told = begin(client, "a" * 10_000)
    [one] = running(live).values()
    assert one._hold.n_bytes > 10_000
    client.responses.cancel(told.id)
    assert one._hold.n_bytes == 0


def test_who_reads_along_is_told_the_end_though_there_is_no_more_room_for_it():
    bodies, refusals = Bodies(1 << 20), []

    async def answers():
        yield 0, TextDelta("Hel")
        bodies.most_bytes = 0  # others have come meanwhile
        yield 0, Finished("stop", 7, 3, 1, Timings(0.5, 1.0, 2.25, 0.004, 0.006))

    async def run():
        asked = response_request(b'{"input": "Hi"}', "__mark__", Store())
        answer = ResponseStream(Head("resp_1", 1700000000, "tiny"), asked)
        one = Running(answer, "", (), Hold(bodies))
        await one.write(answers(), refusals.append)
        return [frame async for frame in one.follow(0)]

    *_, last = asyncio.run(run())
    assert last.startswith(b"event: response.completed")
    assert not refusals


def done_by(rng, client, begun):
    """Anything to any of them; the ids of those that it began."""
    match rng.randrange(5):
        case 0:
            return [begin(client).id]
        case 1:
            with begin(client, stream=True) as stream:
                events = [next(stream) for _ in range(rng.randrange(1, 3))]
            return [events[0].response.id]
    do = rng.choice([client.responses.cancel, client.responses.delete, client.responses.retrieve])
    with contextlib.suppress(openai.NotFoundError):
        do(rng.choice(begun))
    return []


@pytest.mark.parametrize("seed", range(4))
def test_each_ends_once_whatever_is_done_to_it(seed):
    """By two keys, in any order; and then the server stops."""
    rng = random.Random(seed)
    ends = (words("Hello there"), HANGS, [TextDelta("Hel"), Failed("no", 502)], Overloaded("no"))
    with live_server(served(), access=Access.of(keys=plain("ab"))) as live:
        engine, app = live.models.find("tiny").engine, live.app
        engine.scripts = [rng.choice(ends) for _ in range(60)] + [words("Hello there")]
        kept, keep = [], app.state.store.keep
        app.state.store.keep = lambda id, one: (kept.append(id), keep(id, one))
        with clients_of(live, "a", "b") as clients:
            begun = [begin(clients[0]).id]
            for _ in range(60):
                begun += done_by(rng, rng.choice(clients), begun)
    assert sorted(kept) == sorted(begun)
    assert not app.state.background._running
    assert not app.state.background._tasks
    assert engine.n_open == 0
