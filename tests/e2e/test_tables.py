"""Tables of models in a real config.toml: what they say is planned, served, told and obeyed."""

import json
import shutil

import ollama
import openai
import pytest
from cli_runs import DEMO_PATH, wait_for

import edgellm

pytestmark = pytest.mark.model

TABLES = """
[models."./first.gguf"]
ctx = 256
parallel = 2
cache_type_k = "q8_0"
use = "agent"
aliases = ["gpt-4o-mini"]
sleep_idle_seconds = 3600
system = "You are a pirate."

[models."./first.gguf".sampling]
temperature = 0
"""
PINNED = '[models."./second.gguf"]\npinned = true\nname = "steady"\n'
ASKED = [{"role": "user", "content": "Tell me a story"}]
SAID = "ctx 256, parallel 2, cache_type_k q8_0, use agent, aliases gpt-4o-mini"


@pytest.fixture
def tables(home):
    """Two models beside the settings, which say something of the first."""
    for name in ("first.gguf", "second.gguf"):
        shutil.copy(DEMO_PATH, home.folder / name)

    def written(toml=TABLES):
        folder = home.folder / "config" / "edgellm"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(toml)

    written()
    return written


def planned(home, *flags):
    told = json.loads(home.run("plan", "./first.gguf", "--json", *flags).out)["plan"]
    return told["n_ctx_seq"], told["n_parallel"], told["kv_type_k"], told["reasons"][-1]


def models(live):
    return {one["name"]: one for one in live.get("/edgellm/status").json()["models"]}


def test_what_a_table_says_is_planned_and_a_flag_goes_before_it(home, tables):
    said = f'[models."./first.gguf"] of config.toml: {SAID}, sleep_idle_seconds 3600'
    assert planned(home) == (256, 2, "q8_0", f"{said}, system, sampling")
    n_ctx, n_parallel, kv_type, reason = planned(home, "--ctx", "512", "-ctk", "f16")
    assert (n_ctx, n_parallel, kv_type) == (512, 2, "f16")
    assert "ctx 256" not in reason
    assert "use agent" in reason
    assert "config.toml" not in home.run("plan", "./second.gguf").out
    assert home.run("plan", "./first.gguf", "--users", "2").code == 0, "which finds how many"


def test_what_was_planned_is_served_by_its_names_and_its_sampling(home, tables):
    with (
        home.serving("serve", "./first.gguf", "--port", "0") as live,
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="none") as client,
    ):
        model = models(live)["first"]
        assert (model["plan"]["n_ctx_seq"], model["plan"]["kv_type_k"]) == (256, "q8_0")
        assert SAID in model["plan"]["reasons"][-1]
        assert 3500 < model["sleeps_in_s"] <= 3600
        texts = {
            client.chat.completions.create(
                model="gpt-4o-mini", messages=ASKED, max_tokens=8
            ).choices[0].message.content
            for _ in range(2)
        }  # fmt: skip
        assert len(texts) == 1, "greedy, though no request said so"
        assert "first: answers to gpt-4o-mini, too" in home.run("ps").out
        assert live.get("/v1/models").json()["data"][0]["aliases"][-1] == "gpt-4o-mini"


def test_one_that_is_pinned_is_there_from_the_start_and_stays(home, tables):
    tables(TABLES + PINNED)
    flags = ("--port", "0", "--sleep-idle-seconds", "1")
    with (
        home.serving("serve", "./first.gguf", "./second.gguf", *flags) as live,
        ollama.Client(live.url) as client,
    ):
        assert models(live)["steady"]["state"] == "ready"
        wait_for(lambda: models(live)["first"]["state"] == "sleeping")
        with pytest.raises(ollama.ResponseError) as refused:
            client.generate(model="steady", keep_alive=0)
        assert refused.value.status_code == 501
        assert [one.model for one in client.ps().models] == ["steady:latest"]
        assert client.ps().models[0].expires_at.year == 9999
        assert client.generate(model="first", prompt="Once", options={"num_predict": 2}).response


def test_what_is_served_without_a_name_can_be_said_and_is_said_of_all_of_the_disk(home, tables):
    commit = home.folder / "hf" / "hub" / "models--org--one" / "snapshots" / ("a" * 40)
    commit.mkdir(parents=True)
    shutil.copy(DEMO_PATH, commit / "one-F16.gguf")
    table = '[models."org/one"]\npinned = true\nname = "mine"\nctx = 128\n'
    tables(f'serve = ["./first.gguf", "./second.gguf"]\n{table}')
    with home.serving("serve", "--port", "0") as live:
        assert [*models(live)] == ["first", "second"]
    with home.serving("serve", "--port", "0", EDGELLM_SERVE="") as live:
        one = models(live)["hf.co/org/one:F16"]
        assert (one["state"], one["plan"]["n_ctx_seq"]) == ("ready", 128)
        assert "mine" in one["aliases"]
        with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none") as client:
            told = client.chat.completions.create(model="mine", messages=ASKED, max_tokens=2)
        assert told.model == "hf.co/org/one:F16"


def test_run_and_the_library_heed_the_tables_too(home, tables, monkeypatch):
    told = json.loads(home.run("run", "./first.gguf", "--json", "Ahoy").out)
    again = json.loads(home.run("run", "./first.gguf", "--json", "Ahoy").out)
    assert told["text"] == again["text"], "greedy, though nobody said so"
    for name, value in home.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home.folder)
    with edgellm.serve("./first.gguf") as server:
        assert (server.plan.n_ctx_seq, server.plan.kv_type_k) == (256, "q8_0")
    assert edgellm.plan("./first.gguf").n_ctx_seq == 256


def test_a_ranking_is_on_equal_terms_and_says_whose_table_it_leaves_out(home, tables):
    asked = ("recommend", "--on", "rtx4090", "--json")
    before = json.loads(home.run(*asked).out)
    title = f'[models."{before[0]["model"]}"]'
    assert not any(one["table"] for one in before)
    tables(f"{title}\nctx = 512\n")
    first, *others = json.loads(home.run(*asked).out)
    assert first["table"] == title
    assert [first | {"table": None}, *others] == before
    words = " ".join(home.run(*asked[:-1]).out.split())
    assert f"ranked without {title}, which plan and serve heed" in words


def test_a_table_that_is_about_no_model_is_told_with_the_name_that_was_meant(home, tables):
    tables('[models."./frist.gguf"]\nctx = 256\n[models.first]\nctx = 512\n')
    said = '[models."./frist.gguf"]: no model is here by that name; did you mean ./first.gguf?'
    with home.serving("serve", "./first.gguf", "--port", "0") as live:
        assert models(live)["first"]["plan"]["n_ctx_seq"] == 512, "by the name that ps shows"
        assert said in "".join(live.err)
    told = {one["name"]: one for one in json.loads(home.run("doctor", "--json").out)}["tables"]
    assert (told["verdict"], told["fix"]) == (
        "warning",
        "did you mean ./first.gguf?",
    )
    assert '[models."./frist.gguf"] of ' in told["message"]


@pytest.mark.parametrize(
    ("toml", "words", "hint"),
    [
        ('tensor_split = "1,2"', "tensor_split names 2 devices", "leave it out"),
        ('mmproj = "x.gguf"', "mmproj: there is no file x.gguf", ""),
        ("min_tok_s = 90000", "min_tok_s asks for 90000", "recommend --min-tok-s 90000"),
    ],
)
@pytest.mark.parametrize("command", [("plan", "./first.gguf"), ("run", "./first.gguf", "Hi")])
def test_what_cannot_be_here_is_told_of_the_key_not_of_a_flag_that_nobody_typed(
    home, tables, toml, words, hint, command
):
    tables(f'[models."./first.gguf"]\n{toml}\n')
    done = home.run(*command)
    assert done.code in (2, 3, 5)
    told = done.err.partition('config.toml, [models."./first.gguf"]: ')[2]
    assert words in told.partition("\n")[0]
    assert hint in told


def test_what_a_flag_has_said_instead_is_told_of_the_flag(home, tables):
    tables('[models."./first.gguf"]\ntensor_split = "3,2"\n')
    done = home.run("plan", "./first.gguf", "-ts", "1,2")
    assert "-ts names 2 devices" in done.err
    assert "config.toml" not in done.err


def test_a_table_that_cannot_be_is_an_error_of_the_settings(home, tables):
    tables('[models."./first.gguf"]\nngl = 3\n')
    for command in (("serve", "./second.gguf"), ("plan", "./first.gguf"), ("run", "demo", "Hi")):
        done = home.run(*command)
        assert done.code == 78
        assert 'config.toml, [models."./first.gguf"]: ngl is not known' in done.err
        assert "did you mean gpu_layers?" in done.err
