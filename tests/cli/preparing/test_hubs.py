"""The hub that a user names or has set, from the name to the file."""

import pytest
from gguf_files import llama_bytes
from hub_server import Cut, HubServer, Part, Status
from modelscope_server import ModelScopeServer
from store_runs import FAST

from edgellm.cli.about import about
from edgellm.cli.commands.models import list_models, rm
from edgellm.cli.preparing.fetching import fetch_model
from edgellm.cli.preparing.resolve import resolve
from edgellm.config import Config
from edgellm.errors import ModelNotFound, NetworkError, Offline
from edgellm.models.fetching.modelscope import ModelScopeHub
from edgellm.models.known import catalog

REPO = "org/repo"
NAME = f"{REPO}:Q8_0"
DATA, OTHER = (llama_bytes(**{"general.description": name * 1000}) for name in ("one", "another"))


@pytest.fixture(autouse=True)
def hugging_face(monkeypatch):
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


@pytest.fixture(autouse=True)
def modelscope(monkeypatch):
    with ModelScopeServer() as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.endpoint)
        hub.add(REPO, "m-Q8_0.gguf", DATA)
        yield hub


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGELLM_CACHE_DIR", str(tmp_path / "cache"))
    return {"cache_dir": str(tmp_path / "cache")}


@pytest.fixture
def config(place):
    return Config(hub="modelscope", **place)


def files_asked(server):
    return [one.range for one in server.requests if one.path.startswith("/cdn/")]


@pytest.mark.parametrize("written", [NAME, f"modelscope.cn/{NAME}", f"ms://{NAME}"])
def test_a_model_is_planned_by_its_header_and_fetched_from_modelscope(
    modelscope, hugging_face, place, written, capsys
):
    hub = "modelscope" if written == NAME else "huggingface"
    config = Config(hub=hub, **place)
    planned = resolve(written, config)
    assert (planned.name, planned.is_local) == (f"modelscope.cn/{REPO}", False)
    (candidate,) = planned.candidates
    assert (candidate.source, candidate.quant) == (f"modelscope.cn/{REPO}", "Q8_0")
    assert files_asked(modelscope) == [f"bytes=0-{len(DATA) - 1}"]
    path = fetch_model(written, config)
    assert path.read_bytes() == DATA
    assert path.parent.name == modelscope.commit(REPO)
    assert resolve(NAME, config).name == f"modelscope.cn/{NAME}"
    assert resolve(REPO, config).candidates[0].source == f"modelscope.cn/{REPO}"
    assert not hugging_face.requests


def test_who_names_hugging_face_asks_there_whatever_is_set(modelscope, hugging_face, config):
    hugging_face.add(REPO, "m-Q8_0.gguf", OTHER)
    assert fetch_model(f"hf.co/{NAME}", config).read_bytes() == OTHER
    assert not modelscope.requests


def test_a_catalogs_name_is_asked_of_the_hub_that_is_set(modelscope, hugging_face, config):
    entry = catalog.find("qwen3:0.6b")
    modelscope.add(entry.repo, "Qwen3-0.6B-Q8_0.gguf", DATA)
    assert fetch_model("qwen3:0.6b:q8_0", config).read_bytes() == DATA
    assert about("qwen3:0.6b", config).source == f"modelscope.cn/{entry.repo}"
    assert not hugging_face.requests


def test_a_catalogs_repository_that_modelscope_lacks_is_told_and_hugging_face_is_not_asked(
    hugging_face, config
):
    entry = catalog.find("qwen3:0.6b")
    hugging_face.add(entry.repo, "Qwen3-0.6B-Q8_0.gguf", DATA)
    with pytest.raises(ModelNotFound, match=f"has no {entry.repo}") as raised:
        fetch_model("qwen3:0.6b", config)
    assert f"edgellm pull hf.co/{entry.repo}" in raised.value.hint
    assert not hugging_face.requests


def test_where_hugging_face_cannot_be_reached_the_other_ways_are_named(
    modelscope, place, monkeypatch
):
    from huggingface_hub import close_session

    close_session()  # it keeps the proxies of whoever asked first
    monkeypatch.delenv("HF_ENDPOINT")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(NetworkError, match=r"huggingface\.co, through the proxy") as raised:
        fetch_model(NAME, Config(**place))
    close_session()
    assert "EDGELLM_HUB=modelscope" in raised.value.hint
    assert "HF_ENDPOINT names a mirror" in raised.value.hint
    assert not modelscope.requests  # no silent switching


def test_a_download_that_broke_off_goes_on_and_is_listed_by_its_hub(modelscope, config, capsys):
    modelscope.faults.extend([Part(), Cut(1000), Status(404)])  # the first is the header's
    with pytest.raises(ModelNotFound):
        fetch_model(NAME, config, is_quiet=True)
    list_models()
    assert f"modelscope.cn/{NAME}" in capsys.readouterr().out
    modelscope.requests.clear()
    assert fetch_model(NAME, config, is_quiet=True).read_bytes() == DATA
    assert files_asked(modelscope)[-1] == "bytes=1000-"


def test_a_newer_one_is_told_of_its_own_hub_and_another_of_the_other(
    modelscope, hugging_face, config, place, capsys
):
    fetch_model(NAME, config, is_quiet=True)
    assert fetch_model(NAME, config)
    told = capsys.readouterr().err.splitlines()
    assert told == [f"modelscope.cn/{NAME} is here already, and up to date"]
    modelscope.add(REPO, "m-Q8_0.gguf", OTHER)
    assert fetch_model(NAME, config).read_bytes() == OTHER
    told = capsys.readouterr().err
    assert f"modelscope.cn/{NAME} is here already; what the hub has is newer" in told
    assert f"edgellm rm --older modelscope.cn/{NAME} frees" in told
    hugging_face.add(REPO, "m-Q8_0.gguf", DATA)
    path = fetch_model(f"hf.co/{NAME}", Config(**place))
    assert path.read_bytes() == DATA
    told = capsys.readouterr().err
    assert f"modelscope.cn/{NAME} is here already; what hf.co/{REPO} has is another" in told


def test_what_is_here_is_listed_shown_and_removed_by_its_hubs_name(modelscope, config, capsys):
    fetch_model(NAME, config, is_quiet=True)
    list_models()
    assert f"modelscope.cn/{NAME}" in capsys.readouterr().out
    told = about(REPO, config)
    assert told.source == f"modelscope.cn/{REPO} at {modelscope.commit(REPO)[:12]}"
    away = Config(hub="modelscope", cache_dir=config.cache_dir, offline=True)
    assert about(REPO, away).source == f"modelscope.cn/{REPO}"
    rm(f"modelscope.cn/{NAME}")
    assert "are free again" in capsys.readouterr().out
    with pytest.raises(Offline, match=f"modelscope.cn/{REPO} is not on this disk"):
        resolve(NAME, away)


def test_what_is_here_is_shown_where_its_hub_cannot_be_reached(
    modelscope, config, monkeypatch, capsys
):
    fetch_model(NAME, config, is_quiet=True)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(ModelScopeHub, "policy", FAST)
    assert about(REPO, config).source == f"modelscope.cn/{REPO}"
    assert "here is what lies on this disk" in capsys.readouterr().err
    with pytest.raises(NetworkError):
        about("org/other", config)
