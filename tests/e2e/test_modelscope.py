"""A user whom Hugging Face is closed to."""

import json

import pytest
from cli_runs import DEMO_PATH
from hub_server import Cut, Part, Status
from modelscope_server import ModelScopeServer

REPO = "org/demo-GGUF"
NAME = f"modelscope.cn/{REPO}:Q8_0"


@pytest.fixture
def hub(home):
    with ModelScopeServer() as server:
        server.add(REPO, "demo-Q8_0.gguf", DEMO_PATH.read_bytes())
        home.env["MODELSCOPE_ENDPOINT"] = server.endpoint
        yield server


@pytest.mark.model
def test_a_model_is_planned_pulled_and_served_by_its_name_there(home, hub):
    home.env["EDGELLM_HUB"] = "modelscope"
    planned = home.run("plan", REPO)
    assert (planned.code, NAME in planned.out) == (0, True), planned.err
    with home.serving("serve", REPO, "--port", "0") as served:
        (model,) = served.get("/v1/models").json()["data"]
        assert model["id"] == NAME
        answer = home.run("run", f"{REPO}:Q8_0", "Once", EDGELLM_HOST=served.url)
        assert (answer.code, bool(answer.out.strip())) == (0, True), answer.err
    listed = json.loads(home.run("list", "--json").out)
    assert listed[0]["name"] == NAME


def test_without_the_setting_the_way_there_is_told_and_not_taken(home, hub):
    refused = home.run("pull", REPO, HF_ENDPOINT="https://huggingface.co", HTTPS_PROXY=hub.endpoint,
                       NO_PROXY="")  # fmt: skip
    assert refused.code == 9
    assert "EDGELLM_HUB=modelscope" in refused.err
    assert not [one for one in hub.requests if one.path.startswith("/api/")]


def test_a_download_goes_on_by_the_same_command(home, hub):
    hub.faults.extend([Part(), Cut(500_000), Status(404)])
    broken = home.run("pull", f"ms://{REPO}")
    assert broken.code == 3
    partial = json.loads(home.run("list", "--json").out)[0]
    assert (partial["name"], partial["done_bytes"]) == (NAME, 500_000)
    again = home.run("pull", f"ms://{REPO}")
    assert (again.code, len(again.out.splitlines())) == (0, 1), again.err
    asked = [one.range for one in hub.requests if one.path.startswith("/cdn/")]
    assert asked[-1] == "bytes=500000-"


def test_a_private_model_wants_modelscopes_token(home, hub):
    hub.private.add(REPO)
    refused = home.run("pull", f"ms://{REPO}", HF_TOKEN="hf_" + "x" * 34)
    assert (refused.code, "MODELSCOPE_API_TOKEN" in refused.err) == (9, True)
    assert {one.authorization for one in hub.requests} == {None}
    assert home.run("pull", f"ms://{REPO}", MODELSCOPE_API_TOKEN="ms-secret").code == 0
