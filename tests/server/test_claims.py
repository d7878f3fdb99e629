import time

import httpx2
import openai
import pytest
from server.server_fakes import live_server, served, words

from edgellm.chat.events import Failed
from edgellm.errors import BadRequest
from edgellm.keys import plain
from edgellm.server.claims import seconds_left
from edgellm.server.door.access import Access

HI = [{"role": "user", "content": "Hi"}]
NOW_S = 1_900_000_000.0  # 2030-03-17T17:46:40Z


def left(text):
    return seconds_left(text, lambda: NOW_S)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        (" 1.5 ", 1.5),
        ("-3", -3.0),
        ("2030-03-17T17:47:40Z", 60.0),
        ("2030-03-17T18:47:40+01:00", 60.0),
        ("2030-03-17 17:47:40", 60.0),
        ("Sun, 17 Mar 2030 17:47:40 GMT", 60.0),
        ("Sun, 17 Mar 2030 17:45:40 -0000", -60.0),
    ],
)
def test_a_deadline_is_seconds_or_a_time(text, seconds):
    assert left(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "nan", "inf", "1e999", "2030-13-01", "12:00", "Sun, 45 Mar 2030", "3 0",
     "Thu, 31 Jan 99999999999999 12:00:00 GMT"],
)  # fmt: skip
def test_what_is_neither_is_refused_and_named(text):
    with pytest.raises(BadRequest, match="X-Request-Deadline"):
        left(text)


def ask(client, **more):
    client.chat.completions.create(model="tiny", messages=HI, **more)


def claim_of(engine):
    return engine.asked[-1][1].claim


def test_the_headers_deadline_is_on_the_machines_clock(client, engine):
    ask(client, extra_headers={"X-Request-Deadline": "30"})
    assert claim_of(engine).deadline_s == pytest.approx(time.monotonic() + 30, abs=5)


def test_without_the_header_there_is_no_deadline_and_without_keys_all_share_alike(client, engine):
    ask(client)
    claim = claim_of(engine)
    assert (claim.deadline_s, claim.priority, claim.key, claim.queue_ratio) == (None, 0, "", 1.0)


def test_a_deadline_that_cannot_be_read_is_a_400(client):
    with pytest.raises(openai.BadRequestError, match="neither seconds nor a time"):
        ask(client, extra_headers={"X-Request-Deadline": "tomorrow"})


def test_the_bodys_priority_is_in_bounds(client, engine):
    ask(client, extra_body={"priority": -7})
    assert claim_of(engine).priority == -7
    with pytest.raises(openai.BadRequestError, match="priority"):
        ask(client, extra_body={"priority": 101})


def test_a_plain_completion_has_its_claim_too(client, engine):
    client.completions.create(
        model="tiny", prompt="Hi", extra_body={"priority": 2},
        extra_headers={"X-Request-Deadline": "9"},
    )  # fmt: skip
    assert claim_of(engine).priority == 2
    assert claim_of(engine).deadline_s is not None


def test_a_passed_deadline_is_a_504_that_no_client_sends_again(live, engine):
    engine.scripts = [[Failed("the deadline passed in the queue", 504, None, "DeadlinePassed")]]
    with (
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=3) as client,
        pytest.raises(openai.InternalServerError) as raised,
    ):
        ask(client)
    assert (raised.value.status_code, raised.value.code) == (504, "deadline_passed")
    assert len(engine.asked) == 1


def test_an_answer_that_its_deadline_cut_is_one_that_was_cut(client, engine):
    engine.scripts = [words("so far", reason="deadline")]
    (choice,) = client.chat.completions.create(model="tiny", messages=HI).choices
    assert (choice.message.content, choice.finish_reason) == ("so far", "length")


def test_the_key_decides_whose_share_it_is_and_is_not_told_on():
    access = Access.of(keys=plain(["alpha", "beta"], {"beta": 3.0}))
    with live_server(served(), access=access) as live:
        engine = live.models.find("tiny").engine
        told = {}
        for key in ("alpha", "beta"):
            with openai.OpenAI(base_url=f"{live.url}/v1", api_key=key, max_retries=0) as client:
                ask(client)
            claim = claim_of(engine)
            told[key] = (claim.weight, claim.queue_ratio)
            assert key not in claim.key
    assert told == {"alpha": (1.0, 0.25), "beta": (3.0, 0.75)}


def test_who_gives_a_second_key_has_the_share_of_the_one_that_let_him_in():
    access = Access.of(keys=plain(["alpha", "beta"], {"beta": 3.0}))
    with live_server(served(), access=access) as live:
        for first, then, status in (("alpha", "none", 200), ("none", "alpha", 401)):
            headers = [("authorization", f"Bearer {first}"), ("authorization", f"Bearer {then}")]
            body = {"messages": HI}
            response = httpx2.post(f"{live.url}/v1/chat/completions", json=body, headers=headers)
            assert response.status_code == status
        engine = live.models.find("tiny").engine
        assert [params.claim.queue_ratio for _, params in engine.asked] == [0.25]
