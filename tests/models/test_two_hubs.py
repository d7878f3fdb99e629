"""One repository from Hugging Face and from ModelScope, in one cache."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hub_server import Cut, HubServer, Status
from modelscope_server import ModelScopeServer
from store_runs import DATA, FAST, REPO, look

from edgellm.errors import BadRequest, ModelNotFound
from edgellm.models.fetching.hub import HuggingFaceHub
from edgellm.models.fetching.modelscope import ModelScopeHub
from edgellm.models.names import HubReference
from edgellm.models.store import Store

OTHER = DATA[::-1]
WANTED = HubReference(REPO, "Q8_0")


@pytest.fixture
def modelscope() -> Iterator[ModelScopeServer]:
    with ModelScopeServer() as running:
        running.add(REPO, "tiny-Q8_0.gguf", DATA)
        yield running


@pytest.fixture
def other(modelscope: ModelScopeServer) -> Iterator[ModelScopeHub]:
    with ModelScopeHub(endpoint=modelscope.endpoint, token="", offline=False) as hub:
        yield hub


def fetched(server: HubServer) -> int:
    return sum(one.path.startswith("/cdn/") for one in server.requests)


def test_the_same_file_comes_once_and_is_up_to_date_for_both(
    server: HubServer,
    modelscope: ModelScopeServer,
    hub: HuggingFaceHub,
    other: ModelScopeHub,
    store: Store,
):
    here, there = look(hub), look(other)
    path = store.fetch(hub, *here, policy=FAST)
    assert store.newer(there[0], path) is None
    copy = store.fetch(other, *there, policy=FAST)
    assert (fetched(server), fetched(modelscope)) == (1, 0)
    assert path != copy
    assert path.resolve() == copy.resolve()
    assert store.newer(here[0], copy) is None


def test_a_model_is_called_by_the_hub_that_it_came_from(
    hub: HuggingFaceHub, other: ModelScopeHub, store: Store
):
    store.fetch(other, *look(other), policy=FAST)
    (model,) = store.list()
    assert (model.name, model.reference.hub) == (f"modelscope.cn/{REPO}:Q8_0", "modelscope")
    assert store.address(REPO, model.path) == f"modelscope.cn/{REPO}"
    store.fetch(hub, *look(hub), policy=FAST)
    (model,) = store.list()  # once: what was fetched last is what counts
    assert (model.name, model.reference.hub) == (f"hf.co/{REPO}:Q8_0", "huggingface")
    assert store.address(REPO, model.path) == f"hf.co/{REPO}"


def test_what_was_fetched_last_is_served_and_the_other_ones_room_can_be_freed(
    modelscope: ModelScopeServer, hub: HuggingFaceHub, other: ModelScopeHub, store: Store
):
    modelscope.add(REPO, "tiny-Q8_0.gguf", OTHER)
    theirs = store.fetch(hub, *look(hub), policy=FAST)
    assert store.newer(look(other)[0], theirs)
    ours = store.fetch(other, *look(other), policy=FAST)
    assert store.find(WANTED) == ours
    assert (store.older(WANTED), store.older_bytes(WANTED)) == ((theirs,), len(DATA))
    again = store.fetch(hub, *look(hub), policy=FAST)
    assert store.find(WANTED) == again == theirs
    assert store.older(WANTED) == (ours,)
    assert store.remove_older(WANTED) == len(OTHER)
    assert store.find(WANTED) == theirs
    assert not [*store.root.rglob(".hubs/*")]  # of a commit that is gone nothing is noted


def test_a_file_of_both_is_freed_when_neither_has_it(
    hub: HuggingFaceHub, other: ModelScopeHub, store: Store
):
    store.fetch(hub, *look(hub), policy=FAST)
    store.fetch(other, *look(other), policy=FAST)
    assert store.older_bytes(WANTED) == 0
    assert store.remove(WANTED) == len(DATA)
    assert store.list() == ()


def test_a_commit_of_both_is_the_last_ones(hub: HuggingFaceHub, other: ModelScopeHub, store: Store):
    """Who mirrors by git push keeps the commits."""
    repository, model = look(other)
    store.fetch(other, repository, model, policy=FAST)
    store.fetch(hub, replace(repository, hub="huggingface"), model, policy=FAST)
    assert store.list()[0].name == f"hf.co/{REPO}:Q8_0"


def test_other_tools_find_what_came_from_modelscope(
    other: ModelScopeHub, store: Store, modelscope: ModelScopeServer
):
    from huggingface_hub import hf_hub_download, scan_cache_dir

    path = store.fetch(other, *look(other), policy=FAST)
    found = hf_hub_download(REPO, "tiny-Q8_0.gguf", cache_dir=store.root, local_files_only=True)
    assert found == str(path)
    scanned = scan_cache_dir(store.root)
    assert not scanned.warnings
    ((revision,),) = [repo.revisions for repo in scanned.repos]
    assert revision.commit_hash == modelscope.commit(REPO)


def test_what_other_words_stand_in_the_note_is_hugging_faces(other: ModelScopeHub, store: Store):
    path = store.fetch(other, *look(other), policy=FAST)
    (note,) = store.root.rglob(".hubs/*")
    for words in (b"elsewhere", b"\xff"):
        note.write_bytes(words)
        assert store.address(REPO, path) == f"hf.co/{REPO}"


def test_a_download_that_broke_off_goes_on_from_the_other_hub(
    server: HubServer,
    modelscope: ModelScopeServer,
    hub: HuggingFaceHub,
    other: ModelScopeHub,
    store: Store,
):
    server.faults.extend([Cut(400_000), Status(404)])
    with pytest.raises(ModelNotFound):
        store.fetch(hub, *look(hub), policy=FAST)
    assert [part.hub for part in store.partials()] == ["huggingface"]
    path = store.fetch(other, *look(other), policy=FAST)
    assert path.read_bytes() == DATA
    asked = [one.range for one in modelscope.requests if one.path.startswith("/cdn/")]
    assert asked == ["bytes=400000-"]
    assert store.list()[0].name == f"modelscope.cn/{REPO}:Q8_0"


def test_a_question_back_names_the_hub_that_it_came_from(
    modelscope: ModelScopeServer, other: ModelScopeHub, store: Store
):
    modelscope.add(REPO, "tiny-Q4_0.gguf", OTHER)
    for quant in ("Q8_0", "Q4_0"):
        store.fetch(other, *look(other, quant), policy=FAST)
    with pytest.raises(BadRequest, match=f"modelscope.cn/{REPO} is here as Q4_0, Q8_0"):
        store.remove(HubReference(REPO))
