"""Several models behind one server, of which each is there when it is asked for."""

import re
import shutil
from datetime import UTC, datetime

import httpx2
import ollama
import openai
import psutil
import pytest
from cli_runs import DEMO_PATH, wait_for
from hub_server import HubServer

import edgellm

pytestmark = pytest.mark.model

LONG = "Tell me a story about a small dog who found a red ball. " * 12
ASKED = [{"role": "user", "content": LONG}]


@pytest.fixture
def two(home):
    """Two files of one model, under names of their own."""
    for name in ("first.gguf", "second.gguf"):
        shutil.copy(DEMO_PATH, home.folder / name)
    return "./first.gguf", "./second.gguf"


def states(live):
    return {one["name"]: one["state"] for one in live.get("/edgellm/status").json()["models"]}


def answered(live, model):
    body = {"model": model, "messages": ASKED, "max_tokens": 8, "temperature": 0}
    with httpx2.Client(base_url=live.url, trust_env=False, timeout=60) as http:
        answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def loaded(client):
    return [one.model for one in client.ps().models]


def test_the_first_is_loaded_at_once_and_the_others_when_a_request_names_them(home, two):
    with home.serving("serve", *two, "--port", "0") as live:
        assert "and when it is asked for, second (F16, " in live.out
        assert states(live) == {"first": "ready", "second": "sleeping"}
        assert live.get("/health").status_code == 200
        ids = [card["id"] for card in live.get("/v1/models").json()["data"]]
        assert ids == ["first", "second"]

        told = answered(live, "second")

        assert (told["model"], told["usage"]["completion_tokens"]) == ("second", 8)
        assert states(live) == {"first": "ready", "second": "ready"}
        assert answered(live, "first")["choices"] == told["choices"]
    assert live.process.returncode == 0


def test_an_idle_model_gives_its_memory_back_and_wakes_with_its_conversations(home, tmp_path):
    flags = ("--sleep-idle-seconds", "1", "--prefix-disk", str(tmp_path / "kept"))
    with home.serving("serve", "demo", "--port", "0", *flags) as live:
        before = answered(live, "demo")
        [model] = live.get("/edgellm/status").json()["models"]

        wait_for(lambda: states(live) == {"demo": "sleeping"})
        assert not psutil.pid_exists(model["pid"])
        assert live.get("/props").json()["is_sleeping"] is True
        after = answered(live, "demo")

        assert after["choices"] == before["choices"]
        assert after["usage"]["prompt_tokens_details"]["cached_tokens"] > 0, "it was kept on disk"


def test_ollamas_clients_see_what_is_loaded_and_may_unload_it(home, two):
    with (
        home.serving("serve", *two, "--port", "0") as live,
        ollama.Client(live.url) as client,
    ):
        assert loaded(client) == ["first:latest"]

        assert client.generate(model="second", keep_alive="5m").done_reason == "load"
        assert loaded(client) == ["first:latest", "second:latest"]
        assert client.generate(model="first", keep_alive=0).done_reason == "unload"
        wait_for(lambda: loaded(client) == ["second:latest"])
        assert client.generate(model="first", prompt="Once", options={"num_predict": 4}).response


def test_a_request_says_how_long_its_model_stays_and_when_it_goes_is_told_truly(home, two):
    """Nobody's first: each is asked for, and goes by itself."""
    flags = ("--port", "0", "--sleep-idle-seconds", "3600")
    with (
        home.serving("serve", *two, *flags) as live,
        ollama.Client(live.url) as client,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none") as other,
    ):
        [there] = client.ps().models
        left_s = (there.expires_at - datetime.now(UTC)).total_seconds()
        assert 3000 < left_s <= 3600
        assert re.search(r"first: sleeps in (5\dm\d\ds|1h00m), if", home.run("ps").out)

        client.generate(model="first", prompt="Once", keep_alive=-1, options={"num_predict": 2})
        [there] = client.ps().models
        assert there.expires_at.year == 9999
        assert "sleeps in" not in home.run("ps").out

        client.generate(model="first", prompt="Once", keep_alive="1s", options={"num_predict": 2})
        wait_for(lambda: states(live)["first"] == "sleeping")
        for ttl in (7200, 0):
            other.chat.completions.create(
                model="second",
                messages=ASKED,
                max_tokens=2,
                extra_body={"ttl": ttl},
            )
            model = live.get("/edgellm/status").json()["models"][1]
            assert ttl == 0 or model["sleeps_in_s"] > 3600
        wait_for(lambda: states(live)["second"] == "sleeping")


def test_the_library_serves_several_too(home, two, monkeypatch):
    for name, value in home.env.items():
        monkeypatch.setenv(name, value)
    with edgellm.serve([home.folder / "first.gguf", home.folder / "second.gguf"]) as server:
        assert str(edgellm.chat("Once", model="second", server=server, max_tokens=4))
        assert [one.state for one in server.status().models] == ["ready", "ready"]


def test_a_flag_that_can_mean_one_model_only_is_refused(home, two):
    done = home.run("serve", *two, "--name", "both")
    assert done.code == 2
    assert "--name can be meant for one model, and 2 are named" in done.err


def test_without_a_name_all_of_this_disk_sleep_until_they_are_asked_for(home):
    with home.serving("serve", "--port", "0") as live:
        assert "edgellm serves, each when it is asked for,\n  demo (F16, " in live.out
        assert states(live) == {"demo": "sleeping"}
        commit = home.folder / "hf" / "hub" / "models--org--one" / "snapshots" / ("a" * 40)
        commit.mkdir(parents=True)
        shutil.copy(DEMO_PATH, commit / "one-F16.gguf")

        wait_for(lambda: states(live) == {"hf.co/org/one:F16": "sleeping"})

        assert answered(live, "org/one")["model"] == "hf.co/org/one:F16"
        assert any("hf.co/org/one:F16 is served, too" in line for line in live.err)
        assert not any("demo is no longer" in line for line in live.err)


def test_without_a_name_a_flag_that_can_mean_one_model_only_is_refused(home):
    done = home.run("serve", "--name", "mine", "--lora", "style.gguf")
    assert done.code == 2
    assert "--name, --lora can be meant for one model, and none is named" in done.err
    assert "edgellm serve MODEL" in done.err


def test_ollamas_clients_pull_where_the_settings_allow_it_and_the_model_is_served(home):
    with HubServer() as hub:
        hub.add("org/one", "one-F16.gguf", DEMO_PATH.read_bytes())
        wishes = {"EDGELLM_ALLOW_PULL": "1", "HF_ENDPOINT": hub.endpoint}
        with (
            home.serving("serve", "--port", "0", **wishes) as live,
            ollama.Client(live.url) as client,
        ):
            lines = [*client.pull("hf.co/org/one:F16", stream=True)]
            assert (lines[0].status, lines[-1].status) == ("pulling manifest", "success")
            assert (lines[-2].completed, lines[-2].total) == (
                lines[-2].total,
                DEMO_PATH.stat().st_size,
            )
            assert client.generate(model="hf.co/org/one:F16", prompt="Once").response
            assert client.pull("hf.co/org/one:F16").status == "success", "it is here"
            with pytest.raises(ollama.ResponseError) as refused:
                client.pull("hf.co/org/nowhere:F16")
            assert refused.value.status_code == 404


def test_ollamas_clients_delete_where_the_settings_allow_it_what_sleeps(home):
    commit = home.folder / "hf" / "hub" / "models--org--one" / "snapshots" / ("a" * 40)
    commit.mkdir(parents=True)
    shutil.copy(DEMO_PATH, commit / "one-F16.gguf")
    with (
        home.serving("serve", "--port", "0", EDGELLM_ALLOW_DELETE="1") as live,
        ollama.Client(live.url) as client,
    ):
        client.generate(model="org/one")
        for name, status in (("hf.co/org/one:F16", 400), ("org/one", 400), ("org/two", 404)):
            with pytest.raises(ollama.ResponseError) as refused:
                client.delete(name)
            assert refused.value.status_code == status
        client.generate(model="org/one", keep_alive=0)
        wait_for(lambda: states(live) == {"hf.co/org/one:F16": "sleeping"})
        assert client.delete("hf.co/org/one:F16").status == "success"
        assert states(live) == {"demo": "sleeping"}
    assert not commit.exists()


def test_pulling_is_not_allowed_where_others_could_fill_the_disk(home):
    flags = ("--host", "0.0.0.0", "--insecure", "--port", "0")
    done = home.run("serve", *flags, EDGELLM_ALLOW_PULL="1")
    assert done.code == 78
    assert "allow_pull: 0.0.0.0 can be reached by others" in done.err
