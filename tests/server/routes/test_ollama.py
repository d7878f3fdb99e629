"""The real ollama package against a live server, whose engine says what its script says."""

import asyncio
import json
import math
from datetime import UTC, datetime

import httpx2
import ollama
import pytest
from server.server_fakes import (
    HANG,
    FakeEngine,
    FakeLease,
    live_server,
    plan,
    scraped,
    served,
    served_embedding,
    words,
)

from edgellm.chat.events import Failed, TextDelta
from edgellm.chat.messages import JSONSchema
from edgellm.chat.templating.template import ChatTemplate
from edgellm.errors import ContextTooLong, Overloaded
from edgellm.server.door.access import Access

HI = [{"role": "user", "content": "Hi"}]
THINKER = "{% for m in messages %}{{ m.content }}{% endfor %}{# </think> #}<think>"


@pytest.fixture
def client(live):
    with ollama.Client(live.url) as client:
        yield client


def lines(answer):
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_chat_is_answered(client, engine):
    answer = client.chat(model="tiny:latest", messages=HI)
    assert answer.message.content == "Hello there"
    assert (answer.model, answer.done, answer.done_reason) == ("tiny:latest", True, "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (7, 2)
    assert (answer.prompt_eval_duration, answer.eval_duration) == (20_000_000, 10_000_000)
    assert answer.total_duration > 0
    assert engine.asked[0][0] == "user: Hi\nassistant:"


def test_an_answer_that_has_begun_goes_on(client, engine):
    talk = [*HI, {"role": "assistant", "content": "The answer is"}]
    assert client.chat(model="tiny", messages=talk).message.content == "Hello there"
    assert engine.asked[0][0] == "user: Hi\nassistant: The answer is"
    with pytest.raises(ollama.ResponseError, match="format: binds a whole answer"):
        client.chat(model="tiny", messages=talk, format="json")


def test_a_stream_is_lines_of_which_the_last_is_done(client, http):
    parts = list(client.chat(model="tiny", messages=HI, stream=True))
    assert "".join(part.message.content for part in parts) == "Hello there"
    assert [part.done for part in parts] == [False, False, True]

    answer = http.post("/api/chat", json={"model": "tiny", "messages": HI})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [line["done"] for line in lines(answer)] == [False, False, True]


def test_the_async_client_streams_too(live):
    async def scenario():
        async with ollama.AsyncClient(live.url) as client:
            parts = await client.generate(model="tiny", prompt="Hi", stream=True)
            return [part.response async for part in parts]

    assert "".join(asyncio.run(scenario())) == "Hello there"


def test_what_is_asked_reaches_the_engine(client, engine):
    client.chat(
        model="tiny",
        messages=HI,
        format={"type": "integer"},
        options={"temperature": 0, "num_predict": 9, "seed": 5, "stop": ["x"]},
    )
    _, params = engine.asked[0]
    assert params.sampling.temperature == 0
    assert (params.max_tokens, params.sampling.seed) == (9, 5)
    assert params.stop == ("x", "\nuser:")
    assert params.structure == JSONSchema('{"type":"integer"}')


def test_a_response_has_a_context_that_the_next_prompt_goes_on_from(client, engine):
    first = client.generate(model="tiny", prompt="Hi")
    text = b"user: Hi\nassistant:Hello there"
    assert first.response == "Hello there"
    assert list(first.context) == [1, *text]

    client.generate(model="tiny", prompt="More", context=first.context)
    prompt, _ = engine.asked[1]
    assert prompt == (1, *text, *b"user: More\nassistant:")


def test_a_raw_prompt_goes_as_it_is_and_has_no_context(client, engine):
    answer = client.generate(model="tiny", prompt="Once", raw=True)
    assert engine.asked[0][0] == "Once"
    assert (answer.response, answer.context) == ("Hello there", None)


def test_a_suffix_is_filled_in(client, engine):
    engine.can_fill = True
    client.generate(model="tiny", prompt="a", suffix="b")
    assert engine.asked[1][0] == (40, 97, 41, 98, 42)


def test_a_system_prompt_comes_first(client, engine):
    client.generate(model="tiny", prompt="Hi", system="Be brief.")
    assert engine.asked[0][0].startswith("system: Be brief.")


def test_a_request_without_a_text_wants_the_model_to_be_there(client, engine):
    loaded = client.generate(model="tiny", keep_alive="10m")
    assert (loaded.response, loaded.done, loaded.done_reason) == ("", True, "load")
    assert client.chat(model="mini").done_reason == "load"
    assert not engine.asked


def test_a_model_that_stays_is_not_unloaded_by_a_request(client, engine):
    with pytest.raises(ollama.ResponseError, match=r"pinned, .*, without --sleep-idle") as raised:
        client.generate(model="tiny", keep_alive=0)
    assert raised.value.status_code == 501
    assert client.generate(model="tiny", prompt="Hi", keep_alive=0).response == "Hello there"


@pytest.mark.parametrize("path", ["chat", "generate", "show", "embed"])
def test_a_model_that_is_unknown_is_a_404_with_the_command_that_serves_it(http, path):
    body = {"model": "llama3.2:latest", "messages": HI, "prompt": "Hi", "input": "Hi"}
    answer = http.post(f"/api/{path}", json=body)
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error.startswith("model 'llama3.2:latest' not found, served here: tiny, mini; ")
    assert "`edgellm serve llama3.2`" in error


def test_errors_are_one_sentence_each(client, http, engine):
    for options, said in (({"temperature": -1}, "options.temperature: -1"), ({"stop": 5}, "stop")):
        with pytest.raises(ollama.ResponseError, match=said) as raised:
            client.chat(model="tiny", messages=HI, options=options)
        assert raised.value.status_code == 400
    engine.scripts = [Overloaded("9 are waiting")]
    answer = http.post("/api/chat", json={"model": "tiny", "messages": HI})
    assert (answer.status_code, answer.json()) == (429, {"error": "9 are waiting"})
    assert http.get("/api/nonsense").json() == {"error": "/api/nonsense is not served here"}
    assert http.get("/api/chat").json() == {"error": "/api/chat does not take this method"}
    page = {"content-type": "text/html"}
    assert set(http.post("/api/chat", content=b"{}", headers=page).json()) == {"error"}


def test_a_failure_midway_raises_in_the_client(client, engine):
    engine.scripts = [[TextDelta("Hel"), Failed("the model's process ended with -9", 502)]]
    seen = []
    with pytest.raises(ollama.ResponseError, match="ended with -9"):
        seen.extend(client.chat(model="tiny", messages=HI, stream=True))
    with pytest.raises(ollama.ResponseError) as raised:
        client.chat(model="tiny", messages=HI)
    assert raised.value.status_code == 502


@pytest.mark.parametrize("ask", ["chat", "generate"])
def test_a_client_that_leaves_cancels_its_answer(http, engine, ask):
    engine.scripts = [[TextDelta("Hel"), HANG]]
    body = {"model": "tiny", "messages": HI, "prompt": "Hi"}
    with http.stream("POST", f"/api/{ask}", json=body) as answer:
        first = json.loads(next(answer.iter_lines()))
    assert "Hel" in (first.get("response"), first.get("message", {}).get("content"))
    assert engine.cancelled.wait(60)


def test_a_prompt_that_is_too_long_is_refused_and_never_cut(client, engine):
    engine.scripts = [ContextTooLong("900 tokens are more than 512", param="messages")]
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError, match="900 tokens") as raised:
            list(client.generate(model="tiny", prompt="Hi", stream=stream))
        assert raised.value.status_code == 400


@pytest.mark.parametrize("stream", [True, False])
def test_more_context_than_is_served_gets_a_warning(http, stream):
    body = {"model": "tiny", "messages": HI, "stream": stream}
    warned = http.post("/api/chat", json=body | {"options": {"num_ctx": 4096}})
    assert warned.status_code == 200
    assert warned.headers["warning"].startswith('199 edgellm "num_ctx 4096 is more than the 512')
    assert (
        "warning" not in http.post("/api/chat", json=body | {"options": {"num_ctx": 512}}).headers
    )


def test_thinking_is_refused_where_the_model_has_none(client):
    with pytest.raises(ollama.ResponseError, match='"tiny" does not support thinking') as raised:
        client.chat(model="tiny", messages=HI, think=True)
    assert raised.value.status_code == 400
    assert client.chat(model="tiny", messages=HI, think=False).message.content == "Hello there"


def test_thoughts_are_told_apart():
    model = served("wise", template=ChatTemplate(THINKER))
    model.engine.scripts = [words("I see. </think> Yes")]
    with live_server(model) as live, ollama.Client(live.url) as client:
        message = client.chat(model="wise", messages=HI, think="high").message
        assert (message.thinking.strip(), message.content.strip()) == ("I see.", "Yes")
        assert "thinking" in client.show("wise").capabilities


def test_embeddings(client, http, live):
    found = client.embed(model="mini", input=["a", "b"])
    assert [list(one) for one in found.embeddings] == [[0.5, 0.5, -0.5, 0.5]] * 2
    assert (found.prompt_eval_count, found.load_duration) == (6, 0)
    assert list(client.embed(model="mini", input="a", dimensions=1).embeddings[0]) == [1.0]
    assert list(client.embeddings(model="mini", prompt="a").embedding) == [0.5, 0.5, -0.5, 0.5]
    assert list(client.embed(model="mini", input=[]).embeddings) == []
    assert http.post("/api/embeddings", json={"model": "mini"}).json() == {"embedding": []}
    for body, said in (
        ({"input": ["a", ""]}, "empty"), ({"input": "a", "dimensions": 9}, "dimensions"),
        ({"model": "tiny", "input": "a"}, "not an embedding model"),
    ):  # fmt: skip
        answer = http.post("/api/embed", json={"model": "mini"} | body)
        assert answer.status_code == 400
        assert said in answer.json()["error"]


class ShortEngine(FakeEngine):
    async def embed(self, inputs, norm=2):
        if any(len(text) > self.plan.n_ctx_seq for text in inputs):
            raise ContextTooLong("too long", param="input")
        return await super().embed(inputs, norm)


def test_texts_that_are_cut_are_one_request():
    engine = ShortEngine(plan(embedding=True))
    n_most = engine.plan.n_ctx_seq
    with live_server(served("mini", engine=engine)) as live, httpx2.Client() as http:
        body = {"model": "mini", "input": ["a", "b" * 2 * n_most]}
        answer = http.post(f"{live.url}/api/embed", json=body)
        assert len(answer.json()["embeddings"]) == 2
        assert f"1 of 2 texts were cut to {n_most} tokens" in answer.headers["warning"]
        assert engine.asked == [(("a", "b" * (n_most - 1)), 2)]
        assert _outcomes(live) == {"stop": 1}

        refused = http.post(f"{live.url}/api/embed", json=body | {"truncate": False})
        assert (refused.status_code, refused.json()) == (400, {"error": "too long"})
        assert _outcomes(live) == {"stop": 1, "refused": 1}


def _outcomes(live):
    begin, end = 'edgellm_requests_total{model="mini",outcome="', '"}'
    told = scraped(live).items()
    return {key[len(begin) : -len(end)]: n for key, n in told if key.startswith(begin)}


def test_how_long_a_model_stays_is_what_was_asked_last_and_when_it_goes_is_told():
    model, vectors = served("turns"), served_embedding("vectors")
    lease, other = FakeLease(left_s=90), FakeLease()
    model.engine.lease, vectors.engine.lease = lease, other
    with live_server(model, vectors) as live, ollama.Client(live.url) as client:
        client.generate(model="turns", keep_alive="10m")
        client.generate(model="turns")
        client.chat(model="turns", messages=HI, keep_alive=-1)
        client.embed(model="vectors", input="a", keep_alive=7)
        client.embed(model="vectors", input="", keep_alive="1h")
        before = datetime.now(UTC)
        turns, _ = client.ps().models
        client.generate(model="turns", keep_alive=0)

    assert lease.kept == [600, "dismissed"]
    assert model.engine.asked[0][1].claim.keep_s == math.inf, "said with the request itself"
    assert other.kept == [7, 3600]
    assert 89 < (turns.expires_at - before).total_seconds() < 150


def test_a_key_is_asked_for_and_its_error_is_ollamas(monkeypatch):
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    key = {"Authorization": "Bearer right"}
    with (
        live_server(served(), access=Access.of(keys=["right"])) as live,
        ollama.Client(live.url) as stranger,
        ollama.Client(live.url, headers=key) as friend,
    ):
        with pytest.raises(ollama.ResponseError, match="API key") as raised:
            stranger.list()
        assert raised.value.status_code == 401
        assert len(friend.list().models) == 1


def test_whoever_asks_a_model_that_has_failed_is_told(http, engine):
    engine.state = "failed"
    answer = http.post("/api/generate", json={"model": "tiny"})
    assert (answer.status_code, answer.json()) == (503, {"error": "the model is failed"})
