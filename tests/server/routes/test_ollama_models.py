"""What ollama's client is told of models: which there are, what one is, what is not done here."""

from dataclasses import replace

import ollama
import pytest
from selector_specs import dense
from server.server_fakes import live_server, served

from edgellm.runner.adapters import AdapterList
from edgellm.selector.plan import Placement, Share

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def client(live):
    with ollama.Client(live.url) as client:
        yield client


def test_a_list_and_what_runs(client, http):
    tiny, mini = client.list().models
    assert (tiny.model, mini.model) == ("tiny:latest", "mini:latest")
    assert len({tiny.digest, mini.digest}) == 2
    assert len(tiny.digest) == 64
    assert tiny.modified_at.year == 2023
    assert (tiny.size, tiny.details.family) == (None, None)  # nobody has told this server
    assert (tiny.details.format, tiny.details.quantization_level) == ("gguf", "Q8_0")
    listed = http.get("/api/tags").json()["models"]
    assert [one["capabilities"] for one in listed] == [["completion", "tools"], ["embedding"]]

    running = client.ps().models
    assert [one.name for one in running] == ["tiny:latest", "mini:latest"]
    assert [one.digest for one in running] == [tiny.digest, mini.digest]
    assert running[0].context_length == 512
    assert (running[0].size, running[0].size_vram) == (1230, 0)
    assert running[0].expires_at.year == 9999


def test_only_what_is_loaded_runs(client, engine):
    engine.state = "loading"
    assert [one.name for one in client.ps().models] == ["mini:latest"]
    assert len(client.list().models) == 2


def test_what_devices_hold_is_their_share():
    shares = (Share("gpu", "gpu", (0,), 700, 50, 5), Share("cpu", "host", (1,), 300, 20, 2))
    model = served("split")
    model.engine.plan = replace(model.engine.plan, placement=Placement(shares, 1))
    with live_server(model) as live, ollama.Client(live.url) as client:
        [running] = client.ps().models
    assert (running.size, running.size_vram) == (1077, 755)


def test_an_adapter_is_listed_and_asked_for_like_a_model(client, live, engine):
    engine.adapters = AdapterList()
    engine.adapters.add(engine.adapters.new("pirate", "/x/pirate.gguf"))
    try:
        assert [one.model for one in client.list().models][:2] == ["tiny:latest", "pirate:latest"]
        client.chat(model="pirate:latest", messages=HI)
        assert engine.asked[0][1].adapters == ((0, 1.0),)
    finally:
        engine.adapters = AdapterList()


def test_a_model_is_shown(client, http):
    shown = client.show("tiny")
    assert shown.parameters.splitlines()[0].split() == ["num_ctx", "512"]
    assert shown.modelfile.splitlines()[:2] == ["FROM tiny-q8_0.gguf", "PARAMETER num_ctx 512"]
    assert 'stop "\\nuser:"' in shown.modelfile
    assert shown.modelinfo == {"general.basename": "tiny"}
    assert shown.capabilities == ["completion", "tools"]
    assert http.post("/api/show", json={"name": "tiny"}).json()["template"] == shown.template


@pytest.mark.parametrize(
    ("body", "name"), [({"model": "tiny:latest"}, "tiny:latest"), ({}, "tiny")]
)
def test_the_name_that_is_shown_is_the_one_that_was_asked_for(http, body, name):
    """VS Code lists a model under it, and without one under "undefined"."""
    assert http.post("/api/show", json=body).json()["model_info"]["general.basename"] == name


def test_the_context_that_is_shown_is_the_one_that_is_served():
    """VS Code and others send as much as they find here."""
    model = served("tiny", spec=dense())
    with live_server(model) as live, ollama.Client(live.url) as client:
        shown, [running] = client.show("tiny"), client.ps().models
    told = shown.modelinfo[f"{shown.modelinfo['general.architecture']}.context_length"]
    assert told == running.context_length == model.engine.plan.n_ctx_seq < model.spec.n_ctx_train


def test_what_is_done_on_the_command_line_is_refused_with_its_command(client):
    asked = (
        (lambda: client.pull("user/repo"), "`edgellm pull user/repo`"),
        (lambda: list(client.pull("user/repo", stream=True)), "`edgellm serve user/repo`"),
        (lambda: client.delete("tiny"), "`edgellm rm tiny`"),
        (lambda: client.copy("tiny", "big"), "not copied"),
        (lambda: client.create("big", from_="tiny"), "`edgellm serve FILE.gguf`"),
        (lambda: client.push("tiny"), "pushed"),
    )
    for ask, said in asked:
        with pytest.raises(ollama.ResponseError) as raised:
            ask()
        assert said in raised.value.error
        assert raised.value.status_code == 501


def test_a_pull_of_what_is_served_has_nothing_to_do(client):
    assert client.pull("tiny").status == "success"
    assert [part.status for part in client.pull("tiny:latest", stream=True)] == ["success"]


def test_blobs_are_refused(http):
    assert http.head("/api/blobs/sha256:ab").status_code == 501
    assert "serves one in place" in http.post("/api/blobs/sha256:ab", json={}).json()["error"]


def test_the_version_is_one_that_clients_take(http):
    told = http.get("/api/version").json()
    assert tuple(map(int, told["version"].split("."))) >= (0, 6, 4)  # what Copilot asks for
    assert http.head("/api/version").status_code == 200
    assert http.head("/api/tags").status_code == 200


@pytest.mark.parametrize(
    ("host", "said"),
    [("127.0.0.1:11434", "Ollama is running"), ("localhost:11434", "Ollama is running")],
)
def test_at_ollamas_own_port_the_root_says_its_words(http, host, said):
    assert http.get("/", headers={"host": host}).text == said
    assert http.head("/", headers={"host": host}).status_code == 200
    assert http.get("/").text.startswith("edgellm ")
