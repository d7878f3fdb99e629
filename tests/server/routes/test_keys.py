"""Keys that may less than all, by the clients that people have."""

import contextlib
import errno
import threading
import time
from datetime import datetime

import anthropic
import httpx2
import ollama
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from server.server_fakes import HANG, live_server, served, served_embedding, words

from edgellm.chat.events import TextDelta
from edgellm.keys import Key, digest_of
from edgellm.meter.usage.diary import Diary
from edgellm.server.door.access import Access
from edgellm.server.watch.books import Clocks
from edgellm.server.watch.live import Watched
from edgellm.status import Download

HI = [{"role": "user", "content": "Hi"}]


def key(name, **may):
    return Key(name, digest_of(f"secret-of-{name}"), **{"admin": False, **may})


def signed(name):
    return {"authorization": f"Bearer secret-of-{name}"}


class Clock:
    """It is noon, and stays so until it `runs`."""

    runs = False
    began_s = time.monotonic()

    def __call__(self):
        return time.monotonic() if self.runs else self.began_s


@contextlib.contextmanager
def serving(*keys, models=(), **more):
    with live_server(*(models or (served(),)), access=Access.of(keys=keys), **more) as live:
        live.clock = Clock()
        clocks = Clocks(live.clock, lambda: datetime(2026, 11, 28, 12))
        live.app.state.gateway.books._clocks = clocks
        yield live


@contextlib.contextmanager
def ollama_client(live, name):
    client = ollama.Client(host=live.url, headers=signed(name))
    with client._client:
        yield client


@contextlib.contextmanager
def openai_client(live, name):
    base = f"{live.url}/v1"
    with openai.OpenAI(base_url=base, api_key=f"secret-of-{name}", max_retries=0) as client:
        yield client


def ask(live, name, **more):
    with openai_client(live, name) as client:
        return client.chat.completions.create(model="tiny", messages=HI, **more)


def get(live, name, path):
    return httpx2.get(f"{live.url}{path}", headers=signed(name), timeout=30)


# ── quotas ───────────────────────────────────────────────────────────────────


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
        live.clock.runs = True
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
        (row,) = get(live, "anna", "/edgellm/usage").json()["rows"]
    headers = told.value.response.headers
    assert (headers["retry-after"], headers["x-should-retry"]) == ("43200", "false")
    assert row["n_refused"] == 1


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
        (row,) = get(live, "anna", "/edgellm/usage").json()["rows"]
    assert (row["n_requests"], row["n_refused"]) == (1, 1)


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
        row = get(live, "anna", "/edgellm/usage").json()["rows"][0]
    assert (row["n_requests"], row["n_refused"]) == (2, 1)
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


# ── models ───────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def fenced():
    models = served(), served("other"), served_embedding()
    with serving(key("anna", models=("tiny",)), key("boss", admin=True), models=models) as live:
        yield live


def test_what_a_key_may_not_ask_is_not_there_for_openais_client(fenced):
    with openai_client(fenced, "anna") as client:
        assert [card.id for card in client.models.list()] == ["tiny"]
        for name in ("other", "mini"):
            with pytest.raises(openai.NotFoundError, match=f"no model '{name}' is served here"):
                client.chat.completions.create(model=name, messages=HI)
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("other")
        with pytest.raises(openai.NotFoundError, match="no embedding model is served here"):
            client.embeddings.create(model="", input="x")
        assert client.chat.completions.create(model="", messages=HI).model == "tiny"


def test_nor_for_anthropics(fenced):
    with anthropic.Anthropic(
        base_url=fenced.url, api_key="secret-of-anna", max_retries=0
    ) as client:
        assert [card.id for card in client.models.list()] == ["tiny"]
        with pytest.raises(anthropic.NotFoundError) as raised:
            client.messages.create(model="other", max_tokens=9, messages=HI)
    assert raised.value.body["error"]["type"] == "not_found_error"


def test_nor_for_ollamas(fenced):
    with ollama_client(fenced, "anna") as client:
        assert {model.model for model in client.list().models} == {"tiny:latest"}
        assert {model.model for model in client.ps().models} == {"tiny:latest"}
        for call in (client.show, lambda name: client.chat(name, HI)):
            with pytest.raises(ollama.ResponseError, match="model 'other' not found") as raised:
                call("other")
            assert raised.value.status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/edgellm/status", "/edgellm/steps", "/v1/models", "/api/tags", "/edgellm/usage"]
)
def test_no_page_names_what_is_not_there(fenced, path):
    answer = get(fenced, "anna", path)
    assert answer.status_code == 200
    assert "other" not in answer.text
    assert path in ("/edgellm/steps", "/edgellm/usage") or "tiny" in answer.text


def test_a_status_has_the_aliases_that_the_list_has_and_no_download_of_what_is_hidden():
    models, keys = (served("other"), served()), (key("anna", models=("tiny",)), key("bob"))
    watched = Watched(download=lambda: Download(name="secret:8b", done_bytes=1))
    with serving(*keys, models=models, aliases=("gpt",), watched=watched) as live:
        (listed,) = get(live, "anna", "/v1/models").json()["data"]
        told, whole = (get(live, name, "/edgellm/status").json() for name in ("anna", "bob"))
    (shown,) = told["models"]
    assert (shown["aliases"], listed["aliases"]) == (["gpt"], ["gpt"])
    assert told["download"] is None
    assert whole["download"]["name"] == "secret:8b"
    assert [one["aliases"] for one in whole["models"]] == [["gpt"], []]


def test_counters_of_all_models_are_not_for_a_key_that_has_some(fenced):
    answer = get(fenced, "anna", "/metrics")
    assert answer.status_code == 403
    assert "the key anna has some" in answer.json()["error"]["message"]


def test_who_has_all_of_them_sees_all(fenced):
    with openai_client(fenced, "boss") as client:
        assert [card.id for card in client.models.list()] == ["tiny", "other", "mini"]


# ── rights ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/edgellm/shutdown", {}),
        ("POST", "/v1/load_lora_adapter", {"lora_name": "x", "lora_path": "x"}),
        ("POST", "/v1/unload_lora_adapter", {"lora_name": "x"}),
        ("POST", "/lora-adapters", [{"id": 0, "scale": 1.0}]),
        ("POST", "/api/pull", {"model": "qwen3:8b"}),
        ("DELETE", "/api/delete", {"model": "tiny"}),
    ],
)
def test_only_an_admins_key_changes_what_is_served(fenced, method, path, body):
    answer = httpx2.request(method, f"{fenced.url}{path}", json=body, headers=signed("anna"))
    assert answer.status_code == 403
    assert "the key anna may not do this" in answer.text
    assert "admin = true" in answer.text


def test_an_admins_key_ends_the_server():
    with serving(key("boss", admin=True)) as live:
        answer = httpx2.post(f"{live.url}/edgellm/shutdown", json={}, headers=signed("boss"))
        assert answer.status_code == 202
        live.thread.join(10)


# ── who has used what ────────────────────────────────────────────────────────


def counted(live, name):
    families = text_string_to_metric_families(get(live, name, "/metrics").text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("edgellm_key_") and sample.name.endswith("_total")
    }


def test_counts_are_told_by_key_to_who_may_see_them():
    with serving(key("anna"), key("boss", admin=True)) as live:
        ask(live, "anna")
        ask(live, "anna")
        ask(live, "boss")
        metrics = counted(live, "boss")
        assert metrics["edgellm_key_requests_total", "anna", "tiny"] == 2
        assert metrics["edgellm_key_prompt_tokens_total", "anna", "tiny"] == 14
        assert metrics["edgellm_key_cached_tokens_total", "anna", "tiny"] == 6
        assert metrics["edgellm_key_generated_tokens_total", "boss", "tiny"] == 2
        assert not any(name == "edgellm_key_energy_joules_total" for name, *_ in metrics)
        assert counted(live, "anna") == {}
        rows = get(live, "boss", "/edgellm/usage").json()["rows"]
        assert [(row["key"], row["model"], row["n_requests"]) for row in rows] == [
            ("anna", "tiny", 2), ("boss", "tiny", 1),
        ]  # fmt: skip
        own = get(live, "anna", "/edgellm/usage").json()
        assert {row["key"] for row in own["rows"]} == {"anna"}
        assert own["machine"] == []


def test_a_status_tells_of_keys_to_who_may_see_what_they_use():
    with serving(key("anna"), key("boss", admin=True)) as live:
        ask(live, "anna")
        told = get(live, "boss", "/edgellm/status").json()["keys"]
        assert [(one["name"], one["used_today"]) for one in told] == [("anna", 9), ("boss", 0)]
        assert get(live, "anna", "/edgellm/status").json()["keys"] == []


def test_counts_are_on_the_disk_when_the_server_has_ended_and_hold_no_word(tmp_path):
    diary = Diary(tmp_path / "usage", 3)
    with serving(key("anna"), diary=diary) as live:
        ask(live, "anna")
    (day,) = diary.days()
    assert diary.read(day).keys["anna"]["tiny"].n_requests == 1
    text = (tmp_path / "usage" / f"{day}.json").read_text()
    assert "Hi" not in text
    assert "secret" not in text
    with serving(key("anna"), diary=diary) as live:
        ask(live, "anna")
        (row,) = get(live, "anna", "/edgellm/usage").json()["rows"]
        assert row["n_requests"] == 2
        assert get(live, "anna", f"/edgellm/usage?until={day}&since={day}").json()["rows"] == [row]
        assert get(live, "anna", "/edgellm/usage?since=9999-01-01").json()["rows"] == []


def test_counts_that_can_not_be_read_are_the_disks_fault_and_said(tmp_path, monkeypatch):
    def denied(self):
        raise PermissionError(errno.EACCES, "Permission denied", "/home/of/somebody/x.json")

    monkeypatch.setattr(Diary, "days", denied)
    with serving(key("anna"), diary=Diary(tmp_path, 3)) as live:
        answer = get(live, "anna", "/edgellm/usage")
    assert answer.status_code == 507
    assert "can't be read" in answer.text
    assert "/home/of" not in answer.text


@pytest.mark.parametrize("query", ["since=yesterday", "until=2026-13-01", "since="])
def test_a_day_that_is_none_is_named(fenced, query):
    answer = get(fenced, "boss", f"/edgellm/usage?{query}")
    assert answer.status_code == 400
    assert "is no day" in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == query.partition("=")[0]


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
