"""How much of all bodies is held at once: by clients on real sockets that send a part of theirs."""

import json
import socket
import time
from contextlib import ExitStack, contextmanager

import httpx2
import pytest
from server.server_fakes import HANG, FakeEngine, live_server, plan, scraped, served, words

from edgellm.chat.events import TextDelta
from edgellm.server.door.access import Access
from edgellm.server.door.bodies import Bodies, bodies_bytes, for_large_bytes, usual_bytes
from edgellm.server.envelope import HTTPProblem
from edgellm.units import GIB, KIB, MIB

CHAT = "/v1/chat/completions"
HI = {"messages": [{"role": "user", "content": "Hi"}]}
TIGHT = Access.of(all_bodies_bytes=4 * MIB)  # 3 of it for large ones


@contextmanager
def sending(live, n_bytes, of_bytes):
    """A client that has sent so much of its body, and goes on to hold it."""
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        client.settimeout(20)
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % of_bytes
        )
        client.sendall(b" " * n_bytes)
        yield client


def chat_of(n_bytes):
    return {"messages": [{"role": "user", "content": "x" * n_bytes}]}


def held_bytes(live):
    return scraped(live)["edgellm_request_bodies_bytes"]


def until(condition):
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_where_large_bodies_hold_all_that_is_theirs_the_next_is_503_and_small_ones_pass():
    with live_server(served(), access=TIGHT) as live, ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(sending(live, MIB - KIB, MIB))
        until(lambda: held_bytes(live) == 3 * (MIB - KIB))

        refused = httpx2.post(live.url + CHAT, json=chat_of(MIB))
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "2"
        assert refused.json()["error"]["code"] == "bodies_full"
        assert "hold 3.0 MiB" in refused.json()["error"]["message"]
        for _ in range(20):
            assert httpx2.post(live.url + CHAT, json=HI).status_code == 200

        clients.close()
        until(lambda: held_bytes(live) == 0)
        assert httpx2.post(live.url + CHAT, json=chat_of(MIB)).status_code == 200


def test_a_body_that_comes_in_chunks_is_503_where_the_room_ends():
    with live_server(served(), access=TIGHT) as live, sending(live, 2 * MIB, 3 * MIB):
        until(lambda: held_bytes(live) == 2 * MIB)
        pieces = iter([b" " * 64 * KIB] * 32)
        headers = {"content-type": "application/json"}
        refused = httpx2.post(live.url + CHAT, content=pieces, headers=headers)
        assert refused.status_code == 503
        until(lambda: held_bytes(live) == 2 * MIB)


def test_what_could_never_get_in_is_413_even_where_one_may_be_larger():
    with live_server(served(), access=TIGHT) as live:
        refused = httpx2.post(live.url + CHAT, json=chat_of(3 * MIB))
    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "body_too_large"


def test_a_body_counts_until_its_answer_has_ended():
    engine = FakeEngine(plan(), [[TextDelta("Hel"), HANG], words("Hello there")])
    with live_server(served(engine=engine), access=TIGHT) as live:
        body = json.dumps(chat_of(MIB) | {"stream": True}).encode()
        with sending(live, 0, len(body)) as client:
            client.sendall(body)
            assert engine.begun.wait(20)
            assert held_bytes(live) == len(body)
        until(lambda: held_bytes(live) == 0)


def test_what_is_refused_for_its_words_gives_its_room_back():
    with live_server(served(), access=TIGHT) as live:
        for _ in range(5):
            body = chat_of(MIB) | {"temperature": 99}
            assert httpx2.post(live.url + CHAT, json=body).status_code == 400
        assert held_bytes(live) == 0


@pytest.mark.parametrize(
    ("memory_bytes", "most_bytes"),
    [(512 * MIB, 32 * MIB), (8 * GIB, 128 * MIB), (256 * GIB, 512 * MIB)],
)
def test_a_machine_with_more_memory_holds_more(memory_bytes, most_bytes):
    assert usual_bytes(memory_bytes) == most_bytes
    assert for_large_bytes(most_bytes) == most_bytes * 3 // 4 > 16 * MIB


def test_the_setting_goes_before_what_is_usual():
    assert bodies_bytes(None, 8 * GIB) == 128 * MIB
    assert bodies_bytes("48MiB", 8 * GIB) == 48 * MIB


def test_many_small_bodies_have_an_end_too():
    bodies, held = Bodies(MIB), ExitStack()
    with held, pytest.raises(HTTPProblem, match="come back later"):  # noqa: PT012  # the 17th
        for i in range(17):
            assert bodies.held_bytes == i * 64 * KIB
            held.enter_context(bodies.hold()).add(64 * KIB)
    assert bodies.held_bytes == 0


def test_the_end_of_a_large_body_asks_for_no_room_when_small_ones_have_taken_the_rest():
    bodies = Bodies(4 * MIB)
    with bodies.hold() as large, bodies.hold() as small:
        large.add(3 * MIB)
        small.add(60 * KIB)

        large.add(0)

        assert bodies.held_bytes == 3 * MIB + 60 * KIB


def test_what_outlives_its_request_is_counted_once_until_it_is_given_back():
    bodies = Bodies(4 * MIB)
    with bodies.hold() as hold:
        hold.add(1000)
        longer = hold.hand_on()
        assert bodies.held_bytes == 1000
    assert bodies.held_bytes == 1000
    longer.add(500)
    longer.give_back()
    longer.give_back()
    assert bodies.held_bytes == 0
