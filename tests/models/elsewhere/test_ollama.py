import json
import os

import pytest
from elsewhere_stores import DEMO, OllamaStore, layer, manifest, snapshot

from edgellm.errors import BadGGUF, BadRequest, ModelNotFound
from edgellm.models.elsewhere import ollama
from edgellm.models.elsewhere.found import FoundModel, Unservable
from edgellm.models.elsewhere.reference import ElsewhereReference
from edgellm.models.elsewhere.tools import found_by, found_models

HEX = "0123456789abcdef" * 4
OTHERS = f"sha256:{'b' * 64}"


def find(name):
    (model,) = found_by(ElsewhereReference("ollama", name))
    return model


def test_without_ollama_nothing_is_found(home):
    assert [*found_models()] == []
    with pytest.raises(ModelNotFound, match="Ollama has no qwen3") as told:
        find("qwen3")
    assert told.value.hint == "Ollama has no model here that llama.cpp loads"


def test_a_pulled_model_is_found_with_its_blob(store):
    blob = store.add("qwen3:8b")
    model = find("qwen3:8b")
    assert model.name == "ollama:qwen3:8b"
    assert model.path == blob
    assert model.path.read_bytes() == DEMO
    assert (model.size_bytes, model.projector) == (len(DEMO), None)
    assert model.modified_at_s == store.path("qwen3:8b").stat().st_mtime


def test_names_are_shortened_as_ollama_does(store):
    for name in (
        "qwen3:latest",
        "user/own:v2",
        "hf.co/org/Repo-GGUF:Q4_K_M",
        "ollama.com/library/b:1",
    ):
        store.add(name)
    shown = [model.name for model in found_models()]
    assert shown == [
        "ollama:b:1",
        "ollama:hf.co/org/Repo-GGUF:Q4_K_M",
        "ollama:qwen3:latest",
        "ollama:user/own:v2",
    ]


@pytest.mark.parametrize(
    "name", ["qwen3", "qwen3:latest", "QWEN3", "registry.ollama.ai/library/qwen3:latest"]
)
def test_no_tag_is_latest_and_capitals_are_the_same(store, name):
    store.add("qwen3:8b", b"another")
    blob = store.add("qwen3:latest")
    assert find(name).path == blob


def test_a_tag_that_is_not_there_is_never_another_one(store):
    store.add("qwen3:8b")
    with pytest.raises(ModelNotFound) as told:
        find("qwen3:4b")
    assert told.value.hint == "it has ollama:qwen3:8b"
    with pytest.raises(ModelNotFound):
        find("qwen3")


def test_a_projector_comes_along(store):
    store.add("llava:7b", projector=b"GGUF of a projector")
    model = find("llava:7b")
    assert model.projector.read_bytes() == b"GGUF of a projector"
    assert model.size_bytes == len(DEMO) + len(b"GGUF of a projector")


def test_an_adapter_is_not_left_out_in_silence(store):
    parts = [store.layer("model", DEMO), store.layer("adapter", b"GGUF of a LoRA")]
    store.write("tuned:1", json.dumps(manifest(*parts)))
    with pytest.raises(BadRequest, match="an adapter") as told:
        find("tuned:1")
    blobs = [str(store.root / "blobs" / part["digest"].replace(":", "-")) for part in parts]
    assert told.value.hint == f"edgellm serve {blobs[0]} --lora {blobs[1]}"


def test_newer_versions_have_a_link_to_a_list_of_manifests(store):
    blob = store.add("qwen3:8b")
    inner = json.dumps(manifest(layer("model", f"sha256:{blob.name[7:]}", len(DEMO)))).encode()
    entries = [
        {"digest": OTHERS, "runner": "mlx", "format": "safetensors"},
        {"digest": store.blob(inner), "runner": "llamacpp", "format": "gguf"},
    ]
    store.add_linked("qwen3:30b", {"manifests": entries, "schemaVersion": 2})
    assert find("qwen3:30b").path == blob


def test_the_newer_of_two_manifests_of_one_name_counts(store):
    store.add("qwen3:8b", b"old")
    newer = store.layer("model", DEMO)
    store.add_linked("qwen3:8b", manifest(newer))
    assert find("qwen3:8b").size_bytes == len(DEMO)
    assert len([*found_models()]) == 1


def test_a_download_on_its_way_is_none_yet(store):
    store.write("new:1", json.dumps(manifest(layer("model", OTHERS, 100))))
    (store.root / "blobs" / f"sha256-{'b' * 64}-partial").write_bytes(b"half")
    with pytest.raises(ModelNotFound, match="is not whole") as told:
        find("new:1")
    assert told.value.hint == "ollama pull new:1"
    assert [*found_models()] == []


def test_a_blob_that_was_cut_is_told_with_its_numbers(store):
    blob = store.add("qwen3:8b")
    blob.write_bytes(DEMO[:1000])
    with pytest.raises(BadGGUF, match=f"1000 of {len(DEMO)} bytes"):
        find("qwen3:8b")


def good(store):
    """A layer that is whole, so that only the rest can be at fault."""
    return store.layer("model", DEMO)


def document(store, **changed):
    return json.dumps(manifest(good(store) | changed))


HOSTILE = {
    "nothing": lambda store: "",
    "half": lambda store: document(store)[:-40],
    "no JSON": lambda store: "GGUF\3\0\0\0",
    "not UTF-8": lambda store: b'{"layers": [], "x": "\xff\xfe"}',
    "UTF-16": lambda store: document(store).encode("utf-16"),
    "a list": lambda store: f"[{document(store)}]",
    "a number": lambda store: "7",
    "null": lambda store: "null",
    "twice": lambda store: document(store) * 2,
    "layers are none": lambda store: json.dumps(manifest() | {"layers": "all"}),
    "a layer is null": lambda store: json.dumps(manifest(None)),
    "a layer is a list": lambda store: json.dumps(manifest([1])),
    "no layer": lambda store: json.dumps(manifest()),
    "no digest": lambda store: document(store, digest=None),
    "a number for one": lambda store: document(store, digest=7),
    "an object for one": lambda store: document(store, digest={"file_name": "../../x"}),
    "empty": lambda store: document(store, digest=""),
    "63 digits": lambda store: document(store, digest=f"sha256:{HEX[:-1]}"),
    "65 digits": lambda store: document(store, digest=f"sha256:{HEX}0"),
    "upwards": lambda store: document(store, digest="sha256:../../../secret"),
    "upwards by backslashes": lambda store: document(store, digest="sha256:..\\..\\secret"),
    "upwards in 64": lambda store: document(store, digest=f"sha256:{'../' * 21}x"),
    "from the root": lambda store: document(store, digest="sha256:/etc/passwd"),
    "another hash": lambda store: document(store, digest=f"sha512:{HEX}"),
    "a line's end": lambda store: document(store, digest=f"sha256:{HEX}\n"),
    "a zero in it": lambda store: document(store, digest=f"sha256:{HEX[:-1]}\0"),
    "of nobody": lambda store: document(store, digest=OTHERS),
    "below nothing": lambda store: document(store, size=-1),
    "endless": lambda store: document(store, size=10**40),
    "a broken size": lambda store: document(store, size=1.5),
    "a size in words": lambda store: document(store, size="3"),
    "no kind": lambda store: document(store, mediaType=None),
    "deep": lambda store: '{"x":' + "[" * 200_000 + "]" * 200_000 + "}",
    "lists in lists": lambda store: '{"manifests":[' * 50_000 + "]}" * 50_000,
    "an empty list": lambda store: json.dumps({"manifests": []}),
    "a list of nobody's": lambda store: json.dumps(
        {"manifests": [{"digest": OTHERS, "runner": "ollama"}]}
    ),
    "a list of a model": lambda store: json.dumps(
        {"manifests": [{"digest": good(store)["digest"], "runner": "ollama"}]}
    ),
    "huge": lambda store: document(store) + " " * (5 << 20),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_manifest_costs_itself_only(store, case):
    (store.root.parent / "secret").write_bytes(DEMO)
    store.add("good:1")
    text = HOSTILE[case](store)
    store.write("bad:1", text)
    before = snapshot(store.root)
    found = {one.names[0]: one for one in ollama.models()}
    assert isinstance(found["good:1"], FoundModel)
    assert isinstance(found["bad:1"], Unservable)
    with pytest.raises((BadGGUF, ModelNotFound)) as told:
        find("bad:1")
    assert "ollama:bad:1" in str(told.value)
    assert len(str(told.value)) < 300
    assert snapshot(store.root) == before


@pytest.mark.parametrize("kind", ["host..", ".hidden", "a b", "x" * 81, "-x", "ä"])
def test_a_name_that_ollama_would_not_take_is_passed_over(store, kind):
    store.add("good:1")
    store.write(f"registry.ollama.ai/library/{kind}:1", document(store))
    shown = [model.name for model in found_models()]
    assert shown == (
        ["ollama:good:1", "ollama:host..:1"] if kind == "host.." else ["ollama:good:1"]
    )


def test_folders_and_links_where_manifests_should_be(store, tmp_path):
    store.add("good:1")
    store.path("folder:1").mkdir(parents=True)
    store.path("gone:1").parent.mkdir(parents=True)
    store.path("gone:1").symlink_to("nowhere")
    store.path("ring:1").parent.mkdir(parents=True)
    store.path("ring:1").symlink_to("1")
    outside = tmp_path / "outside.json"
    outside.write_text(document(store))
    store.path("out:1").parent.mkdir(parents=True)
    store.path("out:1").symlink_to(outside)
    os.mkfifo(store.write("pipe:1", "").with_name("2"))
    assert [model.name for model in found_models()] == ["ollama:good:1"]
    with pytest.raises(BadGGUF, match="leaves Ollama's store"):
        find("out:1")
    with pytest.raises(BadGGUF, match="is no file"):
        find("pipe:2")


def test_a_blob_that_is_no_file_is_refused(store):
    store.add("good:1")
    store.write("folder:1", json.dumps(manifest(layer("model", OTHERS, 4096))))
    (store.root / "blobs" / f"sha256-{'b' * 64}").mkdir()
    with pytest.raises(BadGGUF, match="is no file"):
        find("folder:1")
    assert [model.name for model in found_models()] == ["ollama:good:1"]


def test_a_store_may_be_a_link_itself(home, monkeypatch):
    real = OllamaStore(home / "disk/models")
    real.add("qwen3:8b")
    (home / ".ollama").mkdir()
    (home / ".ollama/models").symlink_to(home / "disk/models")
    assert find("qwen3:8b").path.read_bytes() == DEMO


def test_ollamas_variable_names_the_only_store(home, monkeypatch):
    OllamaStore(home / ".ollama/models").add("here:1")
    there = OllamaStore(home / "there")
    there.add("qwen3:8b")
    monkeypatch.setenv("OLLAMA_MODELS", f' "{there.root}" ')  # envconfig.Var cuts these off
    assert [model.name for model in found_models()] == ["ollama:qwen3:8b"]
    monkeypatch.delenv("OLLAMA_MODELS")
    assert ollama.stores()[0] == home / ".ollama/models"


def test_only_what_can_be_served_is_proposed(store):
    store.write("qwen3:7b", "{")
    with pytest.raises(ModelNotFound) as told:
        find("qwen3:8b")
    assert told.value.hint == "Ollama has no model here that llama.cpp loads"
    store.add("qwen3:4b")
    with pytest.raises(ModelNotFound) as told:
        find("qwen3:8b")
    assert told.value.hint == "it has ollama:qwen3:4b"
