"""Keys with bounds: what is refused, and what clients are told, by the clients that people have."""

import threading

import anthropic
import httpx2
import ollama
import openai
import pytest
from server.key_runs import HI, ask, get, key, ollama_client, openai_client, serving, signed
from server.server_fakes import HANG, live_server, refusals, served, served_embedding, words

from edgellm.chat.events import TextDelta
from edgellm.server.door.access import Access


@pytest.mark.parametrize("stream", [False, True])
def test_openais_client_is_told_what_was_used_and_when_to_come_back(stream):
    with serving(key("anna", tokens_per_minute=9)) as live:
        ask(live, "anna")
        with pytest.raises(openai.RateLimitError, match="used 9 tokens of late, of 9") as raised:
            ask(live, "anna", stream=stream)
    assert (raised.value.code, raised.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    told = raised.value.response.headers
    assert 1 <= int(told["retry-after"]) <= 7
    assert told["x-ratelimit-limit-tokens"] == "9"
    assert told["x-ratelimit-remaining-tokens"] == "0"
    assert "secret" not in str(raised.value)


def test_a_client_that_is_patient_gets_its_answer_by_itself():
    with serving(key("anna", tokens_per_minute=600)) as live:
        live.models.find("tiny").engine.scripts = [words("one", n_prompt=603), words("two")]
        ask(live, "anna")
        live.clock.run()
        base = f"{live.url}/v1"
        with openai.OpenAI(base_url=base, api_key="secret-of-anna", max_retries=2) as client:
            answer = client.chat.completions.create(model="tiny", messages=HI)
    assert answer.choices[0].message.content == "two"


def test_a_day_that_is_used_up_is_no_reason_to_knock_again_at_once():
    with serving(key("anna", tokens_per_day=9)) as live:
        ask(live, "anna")
        base = f"{live.url}/v1"
        with (
            openai.OpenAI(base_url=base, api_key="secret-of-anna", max_retries=5) as client,
            pytest.raises(openai.RateLimitError, match="used 9 tokens today, of 9 a day") as told,
        ):
            client.chat.completions.create(model="tiny", messages=HI)
        refused, _ = get(live, "anna", "/edgellm/usage").json()["rows"]
    headers = told.value.response.headers
    assert (headers["retry-after"], headers["x-should-retry"]) == ("43200", "false")
    assert refused["n_refused"] == 1


def test_what_a_bound_refuses_is_counted_as_what_a_full_queue_does_without_a_model():
    with serving(key("anna", tokens_per_day=9)) as live:
        ask(live, "anna")
        for path in ("/v1/chat/completions", "/api/chat"):
            body = {"model": "tiny", "messages": HI}
            headers = {"x-api-key": "secret-of-anna"}
            assert httpx2.post(live.url + path, json=body, headers=headers).status_code == 429
        told = get(live, "anna", "/metrics").text
    assert 'edgellm_requests_total{model="",outcome="rejected"} 2.0' in told
    assert 'edgellm_requests_total{model="tiny",outcome="rejected"}' not in told


def test_anthropics_client_reads_it_as_its_own_error():
    with (
        serving(key("anna", tokens_per_day=9)) as live,
        anthropic.Anthropic(base_url=live.url, api_key="secret-of-anna", max_retries=0) as client,
    ):
        client.messages.create(model="tiny", max_tokens=9, messages=HI)
        with pytest.raises(anthropic.RateLimitError, match="used 9 tokens today") as raised:
            client.messages.create(model="tiny", max_tokens=9, messages=HI)
    assert raised.value.body["error"]["type"] == "rate_limit_error"
    assert "retry-after" in raised.value.response.headers


@pytest.mark.parametrize("stream", [False, True])
def test_ollamas_client_reads_it_as_its_own_error(stream):
    with (
        serving(key("anna", tokens_per_day=9)) as live,
        ollama_client(live, "anna") as client,
    ):
        client.chat("tiny", HI)
        with pytest.raises(ollama.ResponseError, match="used 9 tokens today") as raised:
            list(client.chat("tiny", HI, stream=True)) if stream else client.chat("tiny", HI)
    assert raised.value.status_code == 429


def test_embeddings_count_and_are_refused_too():
    with (
        serving(key("anna", tokens_per_day=3), models=[served_embedding()]) as live,
        openai_client(live, "anna") as client,
    ):
        client.embeddings.create(model="mini", input="x")
        with pytest.raises(openai.RateLimitError, match="used 3 tokens today, of 3"):
            client.embeddings.create(model="mini", input="x")


def test_what_runs_is_never_broken_off_and_counts_when_it_ends():
    with serving(key("anna", tokens_per_minute=10)) as live:
        live.models.find("tiny").engine.scripts = [words("a " * 50 + "z", n_prompt=100)]
        answer = ask(live, "anna")
        assert answer.usage.total_tokens == 151
        with pytest.raises(openai.RateLimitError, match="used 151 tokens of late, of 10"):
            ask(live, "anna")


def test_a_response_of_the_background_is_refused_before_it_is_begun():
    with serving(key("anna", tokens_per_minute=5)) as live:
        ask(live, "anna")
        with (
            openai_client(live, "anna") as client,
            pytest.raises(openai.RateLimitError, match="used 9 tokens of late, of 5"),
        ):
            client.responses.create(model="tiny", input="Hi", background=True)
        refused, asked = get(live, "anna", "/edgellm/usage").json()["rows"]
    assert (asked["n_requests"], refused["n_refused"]) == (1, 1)


def test_so_many_at_once_and_no_more_and_a_client_that_leaves_makes_room():
    with serving(key("anna", max_concurrent=1)) as live:
        engine = live.models.find("tiny").engine
        engine.scripts = [[TextDelta("so"), HANG], words("Hello there")]
        with openai_client(live, "anna") as client:
            stream = client.chat.completions.create(model="tiny", messages=HI, stream=True)
            next(iter(stream))
            with pytest.raises(openai.RateLimitError, match="1 requests of the key anna run"):
                ask(live, "anna")
            stream.close()
        assert engine.cancelled.wait(10)
        until_free = threading.Event()
        while get(live, "anna", "/edgellm/usage").json()["allowances"][0]["n_running"]:
            until_free.wait(0.01)
        ask(live, "anna")
        refused, row = get(live, "anna", "/edgellm/usage").json()["rows"]
    assert (row["n_requests"], refused["n_refused"]) == (2, 1)
    assert row["n_output"] == 3  # one that was written before it left, and two
    assert row["n_prompt"] == 14


def test_a_key_without_bounds_hears_of_none():
    with serving(key("anna"), key("bob", tokens_per_minute=1000)) as live:
        with openai_client(live, "anna") as client:
            raw = client.chat.completions.with_raw_response.create(model="tiny", messages=HI)
            assert not any(name.startswith("x-ratelimit") for name in raw.headers)
        with openai_client(live, "bob") as client:
            raw = client.chat.completions.with_raw_response.create(model="tiny", messages=HI)
            assert raw.headers["x-ratelimit-remaining-tokens"] == "1000"
            assert raw.headers["x-ratelimit-reset-tokens"] == "0s"


class Counting(Access):
    looks = 0

    def key_of(self, headers):
        type(self).looks += 1
        return super().key_of(headers)


def test_a_request_has_its_key_looked_up_once():
    keys = [key("anna", tokens_per_minute=1000, tokens_per_day=1000)]
    with live_server(served(), access=Counting.of(keys=keys)) as live:
        Counting.looks = 0
        ask(live, "anna")
    assert Counting.looks == 1


@pytest.mark.parametrize("how", [{}, {"stream": True}])
def test_the_responses_api_refuses_likewise(how):
    with (
        serving(key("anna", tokens_per_day=9)) as live,
        openai_client(live, "anna") as client,
    ):
        client.responses.create(model="tiny", input="Hi")
        with pytest.raises(openai.RateLimitError, match="used 9 tokens today") as raised:
            client.responses.create(model="tiny", input="Hi", **how)
    assert raised.value.code == "rate_limit_exceeded"


_PROMPT = {"model": "tiny", "prompt": "Hi"}
_TEXTS = {"model": "mini", "input": "Hi"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", _PROMPT),
        ("/completion", _PROMPT),
        ("/infill", {"model": "tiny", "input_prefix": "a", "input_suffix": "b"}),
        ("/v1/messages", {"model": "tiny", "max_tokens": 9, "messages": HI}),
        ("/api/generate", _PROMPT),
        ("/api/chat", {"model": "tiny", "messages": HI}),
        ("/v1/embeddings", _TEXTS),
        ("/embedding", {"model": "mini", "content": "Hi"}),
        ("/api/embed", _TEXTS),
        ("/api/embeddings", {"model": "mini", "prompt": "Hi"}),
        ("/v1/rerank", {"model": "ranks", "query": "Hi", "documents": ["a"]}),
    ],
)
def test_every_route_that_computes_counts_and_is_bounded(path, body, stream):
    models = served(), served_embedding(), served_embedding("ranks", "rank")
    asked = body | ({"stream": True} if stream else {})
    with serving(key("anna", tokens_per_day=3), models=models) as live:
        answers = [
            httpx2.post(f"{live.url}{path}", json=asked, headers=signed("anna"), timeout=30)
            for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [200, 429], answers[-1].text
    assert "used" in answers[1].text
    assert int(answers[1].headers["retry-after"]) == 43200


@pytest.mark.parametrize("bound", [{"tokens_per_day": 9}, {"tokens_per_minute": 9}])
def test_who_has_nothing_left_is_told_before_the_body_is_read(bound):
    """One that isn't even JSON, and names no model: it is counted once all the same."""
    with serving(key("anna", **bound), key("boss", admin=True)) as live:
        ask(live, "anna")
        json = {"content-type": "application/json"}
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/infill"):
            answer = httpx2.post(f"{live.url}{path}", content="{", headers=signed("anna") | json)
            assert answer.status_code == 429, path
        counted = httpx2.post(f"{live.url}/tokenize", json={"content": "x"}, headers=signed("anna"))
        assert counted.status_code == 200
        there = httpx2.post(f"{live.url}/api/chat", json={"model": "tiny"}, headers=signed("anna"))
        assert there.status_code == 200, "nothing is asked of the model but to be there"
        rows = get(live, "anna", "/edgellm/usage").json()["rows"]
        assert [(row["model"], row["n_requests"], row["n_refused"]) for row in rows] == [
            ("", 0, 4), ("tiny", 1, 0),
        ]  # fmt: skip
        assert refusals(live, **signed("boss")) == {"rate_limit_exceeded": 4}
