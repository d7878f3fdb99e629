import json
import os

import pytest
from cli.serving.announcing import announced, http_server
from msgspec import structs
from server.server_fakes import FakeEngine, live_server, served

from edgellm.cli.commands.ps import _rows, notes, pace, processor, ps, stop
from edgellm.errors import BadRequest, NotServing
from edgellm.status import (
    HealthStatus,
    KeyStatus,
    MemoryParts,
    ModelStatus,
    PlanStatus,
    ShareStatus,
    Status,
)


def share(device_id, predicted, measured):
    return ShareStatus(
        device_id=device_id,
        predicted=MemoryParts(weight_bytes=predicted),
        measured=None if measured is None else MemoryParts(weight_bytes=measured),
    )


def model(n_gpu_layers, measured=None, predicted=None):
    """By device id, the host last."""
    ids = [*(measured or predicted or {})]
    shares = [share(id, (predicted or measured)[id], measured and measured[id]) for id in ids]
    plan = PlanStatus(
        file="x.gguf", quant="Q8_0", n_ctx=1, n_ctx_seq=1, n_parallel=1, kv_type_k="f16",
        kv_type_v="f16", n_threads=1, n_gpu_layers=n_gpu_layers,
        shares=tuple(shares),
    )  # fmt: skip
    return ModelStatus(name="m", state="ready", plan=plan)


@pytest.mark.parametrize(
    ("n_gpu_layers", "measured", "said"),
    [
        (0, {"cpu": 100}, "100% CPU"),
        (33, {"gpu": 1000, "cpu": 1}, "100% GPU"),
        (16, {"gpu": 52, "cpu": 48}, "48%/52% CPU/GPU"),
        (33, {"gpu0": 50, "gpu1": 50, "cpu": 0}, "100% GPU"),
        (33, {}, "–"),
    ],
)
def test_the_processor_is_said_as_ollama_says_it(n_gpu_layers, measured, said):
    assert processor(model(n_gpu_layers, measured)) == said


def test_before_anything_is_measured_the_prediction_counts():
    assert processor(model(16, predicted={"gpu": 75, "cpu": 25})) == "25%/75% CPU/GPU"


@pytest.mark.parametrize(
    ("n_running", "expected", "said"),
    [(1, 35.0, "34.5 (35.0)"), (0, 35.0, "– (35.0)"), (1, None, "34.5")],
)
def test_the_speed_is_that_of_now_and_in_brackets_the_expected_one(n_running, expected, said):
    planned = structs.replace(model(0, {"cpu": 1}).plan, decode_tok_s_p50=expected)
    one = ModelStatus(name="m", state="ready", plan=planned, decode_tok_s=34.5, n_running=n_running)
    assert pace(one) == said


@pytest.mark.parametrize(
    ("state", "progress_ratio", "said"),
    [
        ("starting", 0.0, "starting"),
        ("loading", None, "loading"),
        ("loading", 0.314, "loading 31%"),
        ("loading", 1.0, "making the context …"),
        ("failed", 1.0, "failed"),
    ],
)
def test_what_comes_behind_the_weights_is_said_as_it_is_elsewhere(state, progress_ratio, said):
    one = ModelStatus(name="m", state=state, progress_ratio=progress_ratio)
    (row,) = _rows(Status(version="0.1.0", pid=1, url="", uptime_s=1.0, models=(one,)))
    assert row[1] == said


def test_below_the_table_stands_what_is_not_as_it_should_be():
    slow = HealthStatus(state="degraded", cause="thermal", message="too hot to run at speed")
    status = Status(
        version="0.1.0", pid=1, url="", uptime_s=1.0,
        models=(
            ModelStatus(name="well", state="ready", health=HealthStatus()),
            ModelStatus(name="hot", state="ready", health=slow),
            ModelStatus(name="broken", state="failed", detail="no such file"),
        ),
        held_up="gpu has 84 °C, the ceiling is 85 °C",
    )  # fmt: skip
    assert [*notes(status)] == [
        "  hot: too hot to run at speed",
        "  broken: no such file",
        "  new requests wait: gpu has 84 °C, the ceiling is 85 °C",
    ]


@pytest.fixture
def live():
    with live_server(served(engine=FakeEngine())) as live, announced(live.url, 1.0):
        yield live


@pytest.fixture
def broken():
    """A server of ours that answers nothing that can be read; its URL."""
    with http_server(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") as url, announced(url):
        yield url


def test_what_cannot_be_asked_is_told_after_those_that_answered(live, broken, capsys):
    with pytest.raises(NotServing, match=broken):
        ps()
    out = capsys.readouterr().out
    assert (live.url in out, broken in out) == (True, False)


def test_a_server_without_a_model_for_whoever_asks_says_so(capsys):
    with live_server() as empty, announced(empty.url, 1.0):
        ps()
    assert "no model is served here, or none that your key may ask" in capsys.readouterr().out


def test_where_none_can_be_asked_there_is_nothing_on_stdout(broken, capsys):
    with pytest.raises(NotServing, match=broken):
        ps()
    assert capsys.readouterr().out == ""


def test_as_json_those_that_answer_are_told_all_the_same(live, broken, capsys):
    with pytest.raises(NotServing, match=broken):
        ps(as_json=True)
    (told,) = json.loads(capsys.readouterr().out)
    assert told["url"] == live.url


def test_a_server_that_winds_up_is_shown_as_such(capsys):
    with announced("http://127.0.0.1:1") as announcement:
        announcement.stopping()
        ps()
    assert capsys.readouterr().out == f"http://127.0.0.1:1   pid {os.getpid()}   is stopping\n"


def test_where_no_server_runs_that_is_said(capsys):
    ps()
    assert capsys.readouterr().out.startswith("no server is running here; start one")
    stop(everything=True)
    assert capsys.readouterr().out == "no server is running here\n"


def test_all_are_stopped_but_those_that_cannot_be_told_and_these_are_named(live, broken, capsys):
    with pytest.raises(NotServing, match=broken):
        stop(everything=True, wait=0)
    assert capsys.readouterr().out == f"stopping {live.url}\n"
    live.thread.join(60)
    assert not live.thread.is_alive()


def test_who_names_a_server_is_told_where_to_see_its_models(live):
    with pytest.raises(NotServing, match="no running server has other") as caught:
        stop("other", host=live.url)
    assert caught.value.hint == f"edgellm ps --host {live.url} shows what runs"


def test_of_several_one_is_stopped_by_its_address_and_who_names_none_is_told_of_all(live, capsys):
    with (
        live_server(served("small", engine=FakeEngine())) as second,
        announced(second.url, 5.0),
    ):
        with pytest.raises(BadRequest, match="2 servers are running") as caught:
            stop()
        assert "--host http://" in caught.value.hint
        assert caught.value.hint.endswith("; --all stops them all")
        stop(host=second.url.removeprefix("http://"), wait=0)
        assert capsys.readouterr().out == f"stopping {second.url}\n"
        second.thread.join(60)
        assert (second.thread.is_alive(), live.thread.is_alive()) == (False, True)


def test_what_ranks_is_not_called_an_embedding_model_and_memory_is_all_that_was_planned():
    (cpu,) = (ShareStatus(device_id="cpu", predicted=MemoryParts(weight_bytes=3 << 20)),)
    cpu = structs.replace(cpu, measured=cpu.predicted, overhead_bytes=1 << 20)
    ranks = model(0, {"cpu": 1})
    ranks = structs.replace(
        ranks, embedding=True, reranking=True, plan=structs.replace(ranks.plan, shares=(cpu,))
    )
    embeds = structs.replace(ranks, name="e", reranking=False)

    rows = [" ".join(row) for row in _rows(Status(
        version="1", pid=1, url="u", uptime_s=1.0, models=(ranks, embeds)
    ))]  # fmt: skip
    assert rows[0].startswith("m (reranking) ready")
    assert rows[1].startswith("e (embedding) ready")
    assert "4.0 MiB 3.0 MiB (+0.0%)" in rows[0]


def test_almost_nothing_is_not_less_than_nothing():
    nearly = model(0, measured={"cpu": 99_999}, predicted={"cpu": 100_000})
    (row,) = _rows(Status(version="1", pid=1, url="u", uptime_s=1.0, models=(nearly,)))
    assert row[6].endswith("(+0.0%)")


def test_names_that_were_given_are_told_below_the_table_and_short_forms_are_not():
    named = structs.replace(
        model(0), name="hf.co/org/repo:Q8_0", aliases=("org/repo:Q8_0", "repo", "gpt-4", "small")
    )
    status = Status(version="1", pid=1, url="u", uptime_s=1.0, models=(named, model(0)))
    assert [*notes(status)] == ["  hf.co/org/repo:Q8_0: answers to gpt-4, small, too"]


def test_deaths_are_told_below_the_table():
    died = structs.replace(model(0, {"cpu": 1}), n_restarts=2)
    status = Status(version="1", pid=1, url="u", uptime_s=1.0, models=(died, model(0)))
    assert [*notes(status)] == ["  m: its process died 2×, and was started again"]


def by_key(**used):
    keys = tuple(KeyStatus(name=name, used_today=n) for name, n in used.items())
    return [*notes(Status(version="1", pid=1, url="u", uptime_s=1.0, keys=keys))]


def test_what_keys_have_used_today_is_told_where_several_have():
    assert by_key() == []
    assert by_key(anna=100, ci=0) == []
    assert by_key(ci=38, anna=62) == [
        "  today's tokens: anna 62%, ci 38%; edgellm usage tells more"
    ]
    (line,) = by_key(**{f"k{i}": 10 for i in range(9)})
    assert line.startswith("  today's tokens: k0 11%, k1 11%, k2 11%, k3 11%, k4 11%, 4 more;")
