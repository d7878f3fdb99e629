"""`edgellm up`: on an empty disk, on a full one, on a terminal and without."""

import json
import signal

import httpx2
import pytest
from cli_runs import DEMO_PATH, PATIENCE_S, wait_for
from hub_server import HubServer, Stall

from edgellm.cli.preparing.best import best_to_download
from edgellm.config import Config
from edgellm.models.known import catalog
from edgellm.probe.detect import detect
from edgellm.selector.plan import Goal

pytestmark = pytest.mark.model


@pytest.fixture
def best(home, monkeypatch):
    """What this machine would be offered, by what is known of it in that home."""
    monkeypatch.setenv("XDG_CACHE_HOME", home.env["XDG_CACHE_HOME"])
    config = Config(cache_dir=str(home.folder / "hf" / "hub"))
    found = best_to_download(config, detect(measure_bandwidth=True), Goal())
    if found is None:
        pytest.skip("no model of the catalog fits this machine")
    return found


@pytest.fixture
def hub(home, best):
    """The repository's real name and quantizations, with the demo's bytes in each."""
    with HubServer() as hub:
        for quant in catalog.find(best.name).quants:
            hub.add(best.candidate.source.removeprefix("hf.co/"), f"m-{quant}.gguf", _bytes())
        home.env["HF_ENDPOINT"] = hub.endpoint
        yield hub


def _bytes():
    return DEMO_PATH.read_bytes()


def model_of(url):
    status = httpx2.get(url + "/edgellm/status", trust_env=False, timeout=60).json()
    return status["models"][0]["name"]


def test_without_a_terminal_nothing_is_downloaded_unasked(home, hub):
    with home.serving("up", "--port", "0") as live:
        assert model_of(live.url) == "demo"
        assert any("up --yes" in line for line in live.err)
    assert hub.requests == []


def test_a_model_that_nobody_asks_sleeps_if_the_settings_say_so(home):
    home.env["EDGELLM_SLEEP_IDLE_SECONDS"] = "0"
    with home.serving("up", "--demo", "--headless", "--port", "0") as live:

        def state():
            return live.get("/edgellm/status").json()["models"][0]["state"]

        wait_for(lambda: state() == "sleeping")
        body = {"model": "demo", "prompt": "Once", "max_tokens": 4}
        answer = httpx2.post(live.url + "/v1/completions", json=body, trust_env=False, timeout=60)
        assert answer.json()["usage"]["completion_tokens"] == 4


def test_without_network_the_demo_is_served(home):
    with home.serving("up", "--yes", "--port", "0") as live:
        assert model_of(live.url) == "demo"
        assert any("can't be reached" in line for line in live.err)


def test_yes_serves_the_demo_downloads_and_swaps(home, hub, best):
    hub.bytes_per_s = 4 << 20
    with home.serving("up", "--yes", "--port", "0") as live:
        assert model_of(live.url) == "demo"
        wait_for(lambda: model_of(live.url) == best.name)
        wait_for(lambda: any(f"now serving {best.name}" in line for line in live.err))
        answer = httpx2.post(
            live.url + "/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5},
            trust_env=False,
            timeout=60,
        )
        assert answer.json()["model"] == best.name


def test_a_download_that_fails_leaves_the_demo_at_work(home, hub):
    for name in hub.repos:
        hub.repos[name] = {"README.md": b"no model here"}
    with home.serving("up", "--yes", "--port", "0") as live:
        wait_for(lambda: any("the demo goes on" in line for line in live.err))
        assert model_of(live.url) == "demo"


@pytest.mark.parametrize("fault", [None, Stall(after_bytes=100_000, seconds=60)])
def test_whoever_quits_does_not_wait_for_a_slow_hub_and_the_part_stays(home, hub, terminal, fault):
    hub.bytes_per_s = 20_000  # for minutes
    if fault:
        hub.faults.append(fault)
    screen = terminal("up", "--yes", "--port", "0")
    screen.until("quit")
    (part,) = wait_for(lambda: list(home.folder.rglob("*.edgellm.part")))
    wait_for(lambda: part.stat().st_size > 0)
    screen.type("q")
    assert screen.process.wait(timeout=30) == 0
    assert 0 < part.stat().st_size < DEMO_PATH.stat().st_size


def test_what_is_on_the_disk_is_served_without_question_or_network(home, hub):
    hub.add("org/repo", "m-Q8_0.gguf", _bytes())
    assert home.run("pull", "org/repo").code == 0
    asked = len(hub.requests)
    with home.serving("up", "--port", "0") as live:
        assert model_of(live.url) == "hf.co/org/repo:Q8_0"
        refused = home.run("rm", "org/repo")
        assert (refused.code, "is being served" in refused.err) == (2, True)
    assert len(hub.requests) == asked
    with home.serving("up", "--demo", "--port", "0") as live:
        assert model_of(live.url) == "demo"
    assert home.run("rm", "org/repo").code == 0
    assert [one["name"] for one in json.loads(home.run("list", "--json").out)] == ["demo"]


def test_the_draft_model_of_the_configuration_guesses_for_what_is_on_the_disk(home, hub):
    hub.add("org/repo", "m-Q8_0.gguf", _bytes())
    assert home.run("pull", "org/repo").code == 0
    done = home.run("up", "--port", "0", EDGELLM_DRAFT="./nowhere.gguf")

    assert done.code == 3
    assert "nowhere.gguf" in done.err


def url_here(home):
    told = home.run("ps", "--json").out
    return json.loads(told)[0]["url"] if told.strip() not in ("", "[]") else None


def test_on_a_terminal_it_asks_once_and_the_screen_shows_the_demo_meanwhile(
    home, hub, best, terminal
):
    screen = terminal("up", "--port", "0")
    screen.until("download it? [Y/n]")
    assert best.name in screen.text
    assert "GB" in screen.text
    assert "tok/s" in screen.text
    screen.type("y\n")
    screen.until("quit")  # in the key legend
    url = wait_for(lambda: url_here(home))
    wait_for(lambda: model_of(url) == best.name)
    screen.type("q")
    assert screen.process.wait(timeout=PATIENCE_S) == 0
    assert "\x1b[?1049l" in screen.text  # the terminal is as it was before


def test_a_no_is_respected(home, hub, terminal):
    screen = terminal("up", "--port", "0")
    screen.until("download it? [Y/n]")
    screen.type("n\n")
    screen.until("quit")
    assert hub.requests == []
    screen.type("q")
    assert screen.process.wait(timeout=PATIENCE_S) == 0


def test_the_screen_goes_when_the_server_is_stopped(home, terminal):
    screen = terminal("up", "--demo", "--port", "0")
    wait_for(lambda: url_here(home))
    screen.until("quit")
    assert home.run("stop").code == 0
    assert screen.process.wait(timeout=PATIENCE_S) == 0


def test_where_a_download_goes_on_is_said_when_the_screen_is_gone(home, hub, terminal):
    hub.bytes_per_s = 20_000
    screen = terminal("up", "--yes", "--port", "0")
    screen.until("quit")
    (part,) = wait_for(lambda: list(home.folder.rglob("*.edgellm.part")))
    wait_for(lambda: part.stat().st_size > 0)
    assert home.run("stop").code == 0
    assert screen.process.wait(timeout=PATIENCE_S) == 0
    wait_for(lambda: "edgellm serve MODEL" in screen.text)
    _, _, after = screen.text.rpartition("\x1b[?1049l")
    assert "the same command goes on from" in after


def test_sigterm_takes_the_screen_down_and_mends_the_terminal(home, terminal):
    screen = terminal("up", "--demo", "--port", "0")
    screen.until("ready")
    screen.process.send_signal(signal.SIGTERM)
    assert screen.process.wait(timeout=PATIENCE_S) == 0
    wait_for(lambda: "\x1b[?1049l" in screen.text)


def test_whoever_quits_is_told_that_the_server_has_stopped_and_how_one_goes_on(home, terminal):
    screen = terminal("up", "--demo", "--port", "0")
    screen.until("ready")
    screen.type("q")
    assert screen.process.wait(timeout=PATIENCE_S) == 0
    wait_for(lambda: "edgellm serve MODEL" in screen.text)
    _, _, after = screen.text.rpartition("\x1b[?1049l")
    assert "the server has stopped" in after


def test_a_conversation_on_a_terminal(home, terminal):
    screen = terminal("run", "demo", "--temperature", "0")
    screen.until(">>> ")
    screen.type("Hello!\n")
    screen.until("demo model")
    screen.type("/bye\n")
    assert screen.process.wait(timeout=PATIENCE_S) == 0


def test_where_a_server_runs_already_a_second_up_shows_its_screen(home, terminal):
    with home.serving("serve", "demo", "--port", "0") as live:
        port = live.url.rpartition(":")[2]
        screen = terminal("up", "--port", port)
        screen.until("quit")
        assert f"demo is served at {live.url} already" in screen.text
        screen.type("q")
        assert screen.process.wait(timeout=PATIENCE_S) == 0
        wait_for(lambda: "edgellm stop" in screen.text)

        assert model_of(live.url) == "demo"
        for asked in (("--headless",), ("--ctx", "512"), ("--yes",)):
            other = terminal("up", "--port", port, *asked)
            assert other.process.wait(timeout=PATIENCE_S) == 11
            assert "already" in other.text
