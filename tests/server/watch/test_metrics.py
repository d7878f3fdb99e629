import asyncio
import math

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from server.server_fakes import (
    GAUGE,
    HANG,
    FakeEngine,
    hardware,
    live_server,
    plan,
    served,
    served_embedding,
    words,
)

from edgellm.chat.events import Failed, PromptRead, SoFar, TextDelta, Timings
from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadRequest, Overloaded
from edgellm.meter.sample import Sample
from edgellm.runner.messages import Embedded
from edgellm.server.answers import Asked, Counter, answer, read
from edgellm.server.door.bodies import Bodies
from edgellm.server.envelope import HTTPProblem
from edgellm.server.served import Models
from edgellm.server.watch.gauges import Gauges
from edgellm.server.watch.live import Live, Watched
from edgellm.server.watch.metrics import Metrics


def values(registry):
    """Every sample that the registry holds, by name and labels."""
    from prometheus_client import generate_latest

    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def ask(script, metrics, *, n=1, leave_after=math.inf, is_read=True):
    """One request to its end, however it ends; or the client leaves after some events."""

    async def scenario():
        model = served(engine=FakeEngine(plan(), [script]))
        params = GenerateParams(n=n, is_read=is_read)
        answers = answer(model, Asked(("x",), params, "prompt"), Counter(metrics))
        n_seen = 0
        async for _ in answers:
            n_seen += 1
            if n_seen >= leave_after:
                break
        await answers.aclose()

    asyncio.run(scenario())


def test_a_whole_request_is_counted_with_its_tokens_and_times():
    metrics = Metrics()
    ask(words("a b c"), metrics)
    seen = values(metrics.registry)

    assert seen["edgellm_requests_total", ("tiny", "stop")] == 1
    assert seen["edgellm_prompt_tokens_total", ("tiny",)] == 7
    assert seen["edgellm_cached_tokens_total", ("tiny",)] == 3
    assert seen["edgellm_generated_tokens_total", ("tiny",)] == 3
    assert seen["edgellm_time_to_first_token_seconds_count", ("tiny",)] == 1
    assert seen["edgellm_inter_token_latency_seconds_count", ("tiny",)] == 2
    assert seen["edgellm_e2e_request_latency_seconds_count", ("tiny",)] == 1
    assert seen["edgellm_request_queue_time_seconds_sum", ("tiny",)] == 0.001


def test_a_prompt_that_is_being_read_is_no_first_token():
    metrics = Metrics()
    so_far = SoFar(7, 3, 1, Timings(0.0, 0.0, 0.0))
    ask([PromptRead(7, 3, 5, 0.0), so_far, *words("a b")], metrics)
    seen = values(metrics.registry)
    assert seen["edgellm_time_to_first_token_seconds_count", ("tiny",)] == 1
    assert seen["edgellm_inter_token_latency_seconds_count", ("tiny",)] == 1


def test_an_answer_that_nobody_reads_as_it_comes_has_no_gaps():
    metrics = Metrics()
    ask(words("a b c"), metrics, is_read=False)
    seen = values(metrics.registry)
    assert seen["edgellm_time_to_first_token_seconds_count", ("tiny",)] == 1
    assert ("edgellm_inter_token_latency_seconds_count", ("tiny",)) not in seen


def test_several_answers_are_one_request_each_with_its_own_first_token():
    metrics = Metrics()
    ask(words("a b"), metrics, n=3)
    seen = values(metrics.registry)
    assert seen["edgellm_requests_total", ("tiny", "stop")] == 1
    assert seen["edgellm_time_to_first_token_seconds_count", ("tiny",)] == 3
    assert seen["edgellm_inter_token_latency_seconds_count", ("tiny",)] == 3


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ([TextDelta("a"), Failed("signal 9", 502)], "failed"),
        ([Failed("too long", 400)], "refused"),
        ([BadRequest("no")], "refused"),
        ([Overloaded("full")], "rejected"),
        ([Failed("too late", 504, kind="DeadlinePassed")], "expired"),
        ([KeyError("bug")], "failed"),
        ([TextDelta("a")], "failed"),
    ],
)
def test_a_failure_is_counted_once_by_its_kind(script, outcome):
    metrics = Metrics()
    with pytest.raises(Exception):  # noqa: B017, PT011  # which one is another test's matter
        ask(script, metrics)
    seen = values(metrics.registry)
    counts = {key[1]: value for key, value in seen.items() if key[0] == "edgellm_requests_total"}
    assert counts == {("tiny", outcome): 1}
    assert ("edgellm_e2e_request_latency_seconds_count", ("tiny",)) not in seen, "it had no end"


def test_a_client_that_leaves_midway_is_cancelled():
    metrics = Metrics()
    ask([TextDelta("a"), HANG], metrics, leave_after=1)
    assert values(metrics.registry)["edgellm_requests_total", ("tiny", "cancelled")] == 1


def test_a_client_that_leaves_with_the_last_byte_was_answered():
    metrics = Metrics()
    ask(words("a b"), metrics, leave_after=3)
    assert values(metrics.registry)["edgellm_requests_total", ("tiny", "stop")] == 1


def test_gauges_are_read_at_the_scrape_and_the_unknown_is_absent():
    engine = FakeEngine(plan(), gauge=GAUGE)
    samples = (Sample("0000:01:00.0", 1.0, used_bytes=500, power_w=70.5),)
    live = Live(Models([served(engine=engine)]), Watched(hardware(), lambda: samples))
    metrics = Metrics()
    Gauges(live.status, metrics.registry, Bodies(4000))
    seen = values(metrics.registry)

    assert seen["edgellm_kv_cells", ("tiny",)] == 1024
    assert seen["edgellm_kv_cells_used", ("tiny",)] == 100
    assert seen["edgellm_requests_waiting", ("tiny",)] == 1
    assert seen["edgellm_requests_running", ("tiny",)] == 2
    assert seen["edgellm_sequences_retained", ("tiny",)] == 3
    assert seen["edgellm_model_ready", ("tiny",)] == 1
    assert seen["edgellm_request_bodies_bytes", ()] == 0
    assert seen["edgellm_request_bodies_limit_bytes", ()] == 4000
    assert seen["edgellm_device_power_watts", ("0000:01:00.0", "RTX")] == 70.5
    assert ("edgellm_device_temperature_celsius", ("0000:01:00.0", "RTX")) not in seen
    assert ("edgellm_decode_tokens_per_second", ("tiny",)) not in seen
    engine.state = "loading"
    assert values(metrics.registry)["edgellm_model_ready", ("tiny",)] == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Overloaded("x"), "queue_full"),
        (BadRequest("x"), "invalid_request_error"),
        (HTTPProblem(401, "x", code="invalid_api_key"), "invalid_api_key"),
        (HTTPProblem(403, "x"), "permission_error"),
        (KeyError("/home/somebody"), "server_error"),
    ],
)
def test_a_refusal_is_counted_by_the_word_that_the_client_is_told(error, reason):
    metrics = Metrics()
    metrics.refused(error)
    assert values(metrics.registry)["edgellm_refused_requests_total", (reason,)] == 1


def test_the_page_parses_and_names_carry_the_prefix():
    import httpx2

    with (
        live_server(served('we"ird\\na\nme')) as live,
        httpx2.Client(base_url=live.url) as http,
    ):
        response = http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(response.text))
    assert len(families) > 20
    assert all(family.name.startswith("edgellm_") for family in families)


def test_texts_that_are_only_read_are_counted_and_pass_the_gate():
    vectors, ranks = served_embedding(), served_embedding("judge", pooling="rank")
    with live_server(vectors, ranks) as live:
        url = live.url + "/v1/"
        assert httpx2.post(url + "embeddings", json={"input": ["a", "b"]}).status_code == 200
        ask_for = {"query": "q", "documents": ["a", "b"]}
        assert httpx2.post(url + "rerank", json=ask_for).status_code == 200
        vectors.engine.state = "loading"
        assert httpx2.post(url + "embeddings", json={"input": "a"}).status_code == 503
        page = httpx2.get(live.url + "/metrics").text
    seen = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert seen["edgellm_requests_total", (vectors.name, "stop")] == 1
    assert seen["edgellm_requests_total", (vectors.name, "failed")] == 1
    assert seen["edgellm_requests_total", ("judge", "stop")] == 1
    assert seen["edgellm_prompt_tokens_total", (vectors.name,)] == 6
    assert seen["edgellm_prompt_tokens_total", ("judge",)] > 0
    assert ("edgellm_request_queue_time_seconds_count", (vectors.name,)) not in seen, (
        "nobody measured it"
    )
    asked = []

    async def knocked():
        async def enter():
            asked.append("gate")

        await read(vectors, vectors_of, Counter(Metrics(), enter))

    async def vectors_of():
        asked.append("engine")
        return Embedded(1, (b"",), n_tokens=1)

    asyncio.run(knocked())
    assert asked == ["gate", "engine"]
