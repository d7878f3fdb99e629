"""Models that other tools have downloaded: listed, told of and served where they lie, and left as
they are."""

import json
import os
import shutil
import subprocess

import ollama
import pytest
from cli_runs import EDGELLM
from elsewhere_stores import DEMO, OllamaStore, put, snapshot
from pictures import png
from projector_files import projector_bytes
from split_files import split_in_two

pytestmark = pytest.mark.model


@pytest.fixture
def store(home):
    """Ollama's, with a model that sees, under two names; and one that is kept for MLX."""
    store = OllamaStore(home.folder / "ollama")
    store.add("tiny:1b", projector=projector_bytes())
    store.add("tiny:latest")
    return store


@pytest.fixture
def parts(home):
    """A model of LM Studio in two files."""
    names = [f"org/Split-GGUF/Tiny-F16-0000{n}-of-00002.gguf" for n in (1, 2)]
    models = home.folder / ".lmstudio/models"
    return [put(models, name, part) for name, part in zip(names, split_in_two(DEMO), strict=True)]


def test_they_are_listed_by_the_names_that_commands_take(here, store, parts):
    listed = {one["name"]: one for one in json.loads(here("list", "--json").out)}
    assert [*listed] == [
        "ollama:tiny:1b",
        "ollama:tiny:latest",
        "lmstudio:org/Split-GGUF:F16",
        "demo",
    ]
    assert [one["tool"] for one in listed.values()] == ["ollama", "ollama", "lmstudio", None]
    assert listed["lmstudio:org/Split-GGUF:F16"]["path"] == str(parts[0])
    assert "ollama:tiny:1b" in here("list").out
    for name in listed:
        assert here("show", name).code == 0


def test_a_plan_is_made_from_the_blob_and_its_projector(here, store):
    plan = json.loads(here("plan", "ollama:tiny:1b", "--json").out)["plan"]
    assert plan["model"] == "ollama:tiny:1b"
    assert plan["quant"] == "F16"  # no file's name tells it: the header does
    assert plan["projector"]["file"].startswith(str(store.root / "blobs"))


def test_one_is_served_under_the_name_that_its_tools_clients_ask_for(home, store):
    before = snapshot(store.root)
    with (
        home.serving("serve", "ollama:tiny:1b", "--port", "0") as live,
        ollama.Client(live.url) as client,
    ):
        hello = [{"role": "user", "content": "Hello!"}]
        for name in ("tiny:1b", "ollama:tiny:1b"):
            answer = client.chat(model=name, messages=hello, options={"num_predict": 5})
            assert answer.eval_count > 0
        look = [hello[0] | {"images": [png()]}]
        seen = client.chat(model="tiny:1b", messages=look, options={"num_predict": 5})
        assert seen.prompt_eval_count > answer.prompt_eval_count
        assert [model.model for model in client.list().models] == ["ollama:tiny:1b"]
        status = live.get("/edgellm/status").json()
    assert status["models"][0]["plan"]["projector"]
    assert snapshot(store.root) == before


def test_up_takes_what_another_tool_has_and_sees_through_its_projector(home, store):
    with home.serving("up", "--headless", "--port", "0") as live:
        (model,) = live.get("/edgellm/status").json()["models"]
    assert model["name"] == "ollama:tiny:1b"
    assert model["plan"]["projector"].startswith(str(store.root / "blobs"))


def test_a_model_in_several_files_says_what_it_says_in_one(home, parts):
    def told(name):
        done = home.run("run", name, "Tell me a story.", "--temperature", "0", "--max-tokens", "12")
        assert done.code == 0, done.err
        return done.out

    assert told("lmstudio:org/Split-GGUF") == told("demo")


def test_rm_and_pull_leave_them_to_their_tool(here, store, parts):
    done = here("rm", "ollama:tiny:1b")
    assert done.code == 2
    assert "whose files are only read here" in done.err
    assert "→ ollama rm tiny:1b" in done.err
    assert "My Models" in here("rm", "lmstudio:org/Split-GGUF").err
    assert "→ edgellm serve ollama:tiny:1b" in here("pull", "ollama:tiny:1b").err
    assert all(part.exists() for part in parts)


def test_recommend_counts_them_where_there_is_no_network(here, store, parts):
    ranked = json.loads(here("recommend", "--offline", "--json").out)
    assert sorted(one["model"] for one in ranked) == [
        "lmstudio:org/Split-GGUF:F16",
        "ollama:tiny:1b",
    ]


def test_a_refusal_calls_it_by_its_name_and_not_by_its_digest(here, store):
    done = here("plan", "ollama:tiny:1b", "--reserve", "900TiB")
    assert done.code == 5
    assert "ollama:tiny:1b F16 at 1024 tokens" in done.err
    assert "sha256" not in done.out + done.err


def test_what_is_not_there_is_told_with_what_is(here, store):
    done = here("serve", "ollama:tiny:8b")
    assert done.code == 3
    assert "Ollama has no tiny:8b" in done.err
    assert "→ it has ollama:tiny:1b" in done.err


def test_a_file_that_was_cut_is_told_with_its_tools_way_to_have_it_whole(here, store):
    store.add("cut:1", DEMO[:300_000])
    done = here("plan", "ollama:cut:1")
    assert (done.code, "ollama:cut:1: the file is cut off" in done.err) == (4, True)
    assert "→ ollama rm cut:1, then fetch it again" in done.err
    assert "sha256" not in done.err


def test_a_store_that_is_broken_hides_no_other(here, store, parts):
    store.write("bad:1", "{")
    (store.root / "manifests/registry.ollama.ai/library/worse").write_text("no folder")
    assert "ollama:bad" not in here("list").out
    assert "lmstudio:org/Split-GGUF:F16" in here("list").out
    done = here("show", "ollama:bad:1")
    assert (done.code, "its manifest can't be read" in done.err) == (4, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.skipif(not shutil.which("setpriv"), reason="nothing here takes root's rights away")
def test_a_store_that_is_shut_is_told_beneath_the_others(home, store, parts):
    door = store.root
    door.chmod(0o700)
    os.chown(door, 998, 998)
    powerless = ("setpriv", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")

    def run(*args):
        return subprocess.run(
            (*powerless, *EDGELLM, *args), capture_output=True, text=True, env=home.env
        )

    listed = run("list").stdout
    assert "lmstudio:org/Split-GGUF:F16" in listed
    assert "ollama:" not in listed
    assert f"sudo chmod o+rx {door}" in " ".join(listed.split())
    done = run("serve", "ollama:tiny:1b")
    assert (done.returncode, f"→ sudo chmod o+rx {door}" in done.stderr) == (10, True)


def test_a_projector_that_llama_cpp_refuses_costs_the_pictures_only(here, home, store):
    """As Ollama's LLaVA has one: without its kind, which Ollama's engine puts in."""
    named = b"clip.projector_type"
    unnamed = projector_bytes().replace(named, b"clip.PROJECTOR_type")
    store.add("llava:7b", projector=unnamed)
    with home.serving("serve", "ollama:llava:7b", "--port", "0") as live:
        (model,) = live.get("/edgellm/status").json()["models"]
    assert model["plan"]["projector"] is None
    assert "left out" in here("plan", "ollama:llava:7b").err
