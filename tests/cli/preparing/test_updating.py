"""What `pull` does about a model that is here, when its repository goes on."""

import pytest
from gguf_files import llama_bytes
from hub_server import Cut, HubServer, Status

from edgellm.cli.commands.models import list_models, rm
from edgellm.cli.preparing.fetching import fetch_model
from edgellm.cli.preparing.resolve import resolve
from edgellm.cli.preparing.store import store_of
from edgellm.config import Config
from edgellm.errors import ModelNotFound
from edgellm.models.names import HubReference
from edgellm.units import format_bytes

REPO = "org/repo"
NAME = f"{REPO}:Q8_0"
OLD, NEW = (llama_bytes(**{"general.description": name * 1000}) for name in ("old", "newer"))
OLD_SIZE = format_bytes(len(OLD))


@pytest.fixture
def hub(monkeypatch):
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.add(REPO, "m-Q8_0.gguf", OLD)
        yield hub


@pytest.fixture
def config(tmp_path):
    return Config(cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def old(hub, config):
    return fetch_model(NAME, config, is_quiet=True)


def fetched(hub):
    """How many times a file was asked for."""
    return sum(request.path.startswith("/cdn/") for request in hub.requests)


def test_a_model_that_its_repository_still_has_is_up_to_date(hub, config, old, capsys):
    n_fetched = fetched(hub)
    hub.add(REPO, "README.md", b"another commit")
    assert fetch_model(NAME, config) == old
    assert capsys.readouterr().err == f"hf.co/{NAME} is here already, and up to date\n"
    assert fetched(hub) == n_fetched


def test_a_newer_one_is_fetched_and_served_from_then_on(hub, config, old, capsys):
    hub.add(REPO, "m-Q8_0.gguf", NEW)
    assert resolve(NAME, config).candidates[0].file == str(old)  # unasked, nobody looks
    path = fetch_model(NAME, config)
    assert path.read_bytes() == NEW
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"hf.co/{NAME} is here already; what the hub has is newer"
    assert told[-1] == f"the older one stays: edgellm rm --older hf.co/{NAME} frees {OLD_SIZE}"
    for name in (NAME, REPO):
        assert resolve(name, config).candidates[0].file == str(path)
    assert old.read_bytes() == OLD


def test_one_that_goes_back_to_what_it_was_costs_no_download(hub, config, old):
    hub.add(REPO, "m-Q8_0.gguf", NEW)
    fetch_model(NAME, config)
    n_fetched = fetched(hub)
    hub.add(REPO, "m-Q8_0.gguf", OLD)
    assert fetch_model(NAME, config) == old
    assert fetched(hub) == n_fetched
    for name in (NAME, REPO):
        assert resolve(name, config).candidates[0].file == str(old)


def test_a_newer_one_that_breaks_off_leaves_the_older_one_and_goes_on(hub, config, old):
    hub.add(REPO, "m-Q8_0.gguf", NEW)
    hub.faults.extend([Cut(1000), Status(404)])
    with pytest.raises(ModelNotFound):
        fetch_model(NAME, config)
    assert resolve(NAME, config).candidates[0].file == str(old)
    assert [part.done_bytes for part in store_of(config).partials()] == [1000]
    hub.requests.clear()
    assert fetch_model(NAME, config).read_bytes() == NEW
    assert [one.range for one in hub.requests if one.path.startswith("/cdn/")] == ["bytes=1000-"]


@pytest.mark.parametrize("fault", ["offline", "pinned", "gone", "broken", "astray", "unplugged"])
def test_what_is_here_is_good_enough_where_the_hub_tells_of_nothing_newer(
    hub, config, old, fault, capsys, monkeypatch
):
    name = NAME
    commit = old.parent.name
    hub.add(REPO, "m-Q8_0.gguf", NEW)
    if fault == "offline":
        config = Config(cache_dir=config.cache_dir, offline=True)
    elif fault == "pinned":
        name = f"hf.co/{REPO}/resolve/{commit}/m-Q8_0.gguf"
    elif fault == "gone":
        hub.repos[REPO] = {"m-Q4_0.gguf": NEW}
    elif fault == "broken":
        hub.api_faults.append(Status(501))
    elif fault == "astray":
        monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub.requests.clear()
    assert fetch_model(name, config) == old
    told = capsys.readouterr().err
    assert ("the hub tells of no newer one: " in told) == (fault not in ("offline", "pinned"))
    assert "up to date" not in told or fault == "pinned"
    assert not hub.requests or fault in ("gone", "broken")


def test_a_model_whose_file_has_another_name_now_is_found_by_its_label(hub, config, old):
    hub.repos[REPO] = {"M-v2-Q8_0.gguf": NEW}
    assert fetch_model(NAME, config).name == "M-v2-Q8_0.gguf"


def test_a_projector_that_came_to_the_repository_later_comes_along(hub, config, old):
    hub.add(REPO, "mmproj-F16.gguf", NEW)
    n_fetched = fetched(hub)
    path = fetch_model(NAME, config)
    assert path.with_name("mmproj-F16.gguf").read_bytes() == NEW
    assert fetched(hub) == n_fetched + 1
    assert fetch_model(NAME, config) == path


def test_on_a_disk_without_links_a_file_is_known_by_its_content(hub, config, old, capsys):
    blob = old.resolve()
    old.unlink()
    blob.replace(old)
    old.chmod(0o644)
    old.write_bytes(OLD[:-1] + b"?")  # of this commit it is not read to be known
    assert fetch_model(NAME, config, is_quiet=True) == old
    old.write_bytes(OLD)
    hub.add(REPO, "README.md", b"another commit")
    n_fetched = fetched(hub)
    assert fetch_model(NAME, config) == old
    assert fetched(hub) == n_fetched
    hub.add(REPO, "m-Q8_0.gguf", OLD[:-1] + b"!")  # as long as it was
    assert fetch_model(NAME, config) != old


def test_rm_older_frees_what_a_newer_commit_has_replaced_and_nothing_else(
    hub, config, old, capsys, monkeypatch
):
    monkeypatch.setenv("EDGELLM_CACHE_DIR", config.cache_dir)
    hub.add(REPO, "m-Q4_0.gguf", OLD + b"4")
    hub.add(REPO, "mmproj-F16.gguf", OLD + b"eyes")
    fetch_model(NAME, config)
    fetch_model(f"{REPO}:Q4_0", config)
    hub.add(REPO, "m-Q8_0.gguf", NEW)
    hub.add(REPO, "mmproj-F16.gguf", NEW + b"eyes")
    new = fetch_model(NAME, config)
    list_models()
    shown = " ".join(capsys.readouterr().out.split())  # the lines are as wide as the terminal
    assert f"edgellm rm --older hf.co/{NAME} frees {OLD_SIZE}, replaced by a newer commit" in shown
    rm(NAME, older=True)
    assert (
        capsys.readouterr().out == f"removed what was older of {NAME}: {OLD_SIZE} are free again\n"
    )
    assert new.read_bytes() == NEW
    assert store_of(config).find(HubReference(REPO, "Q4_0"))  # of the older commit, with its eyes
    rm(NAME, older=True)
    assert capsys.readouterr().out == f"there is nothing older of {NAME}\n"
    assert fetch_model(NAME, Config(cache_dir=config.cache_dir, offline=True)) == new
