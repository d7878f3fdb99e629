"""`export` and `import` as they are typed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_runs import COMMIT, DEMO_NAME, DEMO_REPO, filled
from bundle_runs import export as written
from cli_runs import DEMO_PATH
from gguf_files import llama_bytes
from hub_server import HubServer

from edgellm.cli.commands.bundles import export, import_bundle
from edgellm.cli.commands.models import list_models
from edgellm.cli.commands.verify import verify
from edgellm.cli.flags.described import Described
from edgellm.errors import (
    BadBundle,
    BadRequest,
    ConfigError,
    DoesNotFit,
    ModelNotFound,
    NetworkError,
)
from edgellm.models.bundles.layout import MANIFEST
from edgellm.models.store import Store

HERE = Described()


@pytest.fixture
def go(tmp_path, monkeypatch):
    def went():
        monkeypatch.setenv("HF_HOME", str(tmp_path / "there"))
        return Store(tmp_path / "there" / "hub")

    return went


def test_a_model_goes_to_another_machine_and_is_listed_there(hub_cache, go, tmp_path, capsys):
    place = str(tmp_path / "my stick")
    export([DEMO_REPO], place, HERE)
    told = capsys.readouterr().out
    assert DEMO_NAME in told
    assert f"edgellm import '{place}'" in told
    there = go()
    import_bundle(place, only_list=True)
    *told, rate, licence = capsys.readouterr().out.splitlines()[1].split()
    assert (told, licence) == ([DEMO_NAME, "3.7", "MiB", "no"], "mit")
    assert float(rate) > 0
    import_bundle(place)
    path = capsys.readouterr().out.strip()
    assert Path(path).read_bytes() == DEMO_PATH.read_bytes()
    assert [one.name for one in there.list()] == [DEMO_NAME]
    list_models()
    assert DEMO_NAME in capsys.readouterr().out
    import_bundle(place)
    again = capsys.readouterr()
    assert again.out.strip() == path
    assert again.err.endswith(f", not signed\n{DEMO_NAME} is here already\n")


def test_facts_come_as_json(hub_cache, go, tmp_path, capsys):
    export([DEMO_REPO], str(tmp_path / "out.tar"), HERE, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["models"][0]["name"] == DEMO_NAME
    there = go()
    import_bundle(str(tmp_path / "out.tar"), only_list=True, as_json=True)
    listed = json.loads(capsys.readouterr().out)
    assert listed["sha256"] == told["sha256"]
    assert listed["models"][0]["missing_bytes"] == told["size_bytes"]
    assert listed["models"][0]["commit"] == COMMIT
    assert listed["models"][0]["fits"] is True
    assert listed["models"][0]["decode_tok_s"] > 0
    import_bundle(str(tmp_path / "out.tar"), sha256=told["sha256"], as_json=True)
    (brought,) = json.loads(capsys.readouterr().out)["models"]
    assert brought == {"name": DEMO_NAME, "path": str(there.list()[0].path), "was_here": False}


def test_of_what_is_no_model_nobody_can_tell_how_fast_it_would_be(go, tmp_path, capsys):
    store = filled(tmp_path / "hub", {"m-Q8_0.gguf": b"no model"}, repo=DEMO_REPO)
    written(store, tmp_path / "out")
    written(store, tmp_path / "out.tar")
    go()
    for place in ("out", "out.tar"):
        import_bundle(str(tmp_path / place), only_list=True)
        assert capsys.readouterr().out.splitlines()[1].split()[-2:] == ["–", "mit"]


def test_another_bundle_than_the_one_that_was_told_is_refused(hub_cache, go, tmp_path):
    export([DEMO_REPO], str(tmp_path / "out"), HERE)
    there = go()
    with pytest.raises(BadBundle):
        import_bundle(str(tmp_path / "out"), sha256="0" * 64)
    assert there.list() == ()


def test_a_model_that_is_not_here_is_fetched_first_with_its_projector(go, tmp_path, monkeypatch):
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.add(DEMO_REPO, "m-Q8_0.gguf", DEMO_PATH.read_bytes())
        hub.add(DEMO_REPO, "mmproj-F16.gguf", b"GGUF eyes")
        export([f"{DEMO_REPO}:Q8_0"], str(tmp_path / "out"), HERE)
        hub.requests.clear()
        export([f"{DEMO_REPO}:Q8_0"], str(tmp_path / "out"), HERE)
        assert hub.requests == []
    there = go()
    import_bundle(str(tmp_path / "out"))
    (model,) = there.list()
    assert (model.snapshot / "mmproj-F16.gguf").read_bytes() == b"GGUF eyes"


SMALL, LARGE = (llama_bytes(n_layers, 2000) for n_layers in (2, 60))


def test_the_quantization_is_that_of_the_machine_that_it_goes_to(
    hub_cache, tmp_path, monkeypatch, capsys
):
    """Also where another one is here; and without the hub it is one of those."""
    described = Described(device=["cuda:24GiB@1000"], ram="64GiB@60")
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.add(DEMO_REPO, "m-Q8_0.gguf", DEMO_PATH.read_bytes())
        hub.add(DEMO_REPO, "m-Q4_0.gguf", DEMO_PATH.read_bytes() + b"\0" * 32)
        export([DEMO_REPO], str(tmp_path / "out"), described)
        assert [one.path for one in hub.requests if one.path.startswith("/api")]
    chosen = json.loads((tmp_path / "out" / "edgellm-bundle.json").read_text())["models"]
    assert len(chosen) == 1
    assert "suits --device cuda:24GiB@1000 --ram 64GiB@60" in capsys.readouterr().err
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    export([DEMO_REPO], str(tmp_path / "alone"), described)
    (alone,) = json.loads((tmp_path / "alone" / "edgellm-bundle.json").read_text())["models"]
    assert alone["name"].startswith(f"hf.co/{DEMO_REPO}:Q")


def test_what_fits_no_machine_that_was_named_is_not_exported(hub_cache, tmp_path, monkeypatch):
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.add(DEMO_REPO, "m-Q8_0.gguf", DEMO_PATH.read_bytes())
        hub.add(DEMO_REPO, "m-Q4_0.gguf", DEMO_PATH.read_bytes())
        with pytest.raises(DoesNotFit):
            export([DEMO_REPO], str(tmp_path / "out"), Described(ram="16MiB@1"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [
        ("demo", BadRequest, "ships with every edgellm"),
        ("./x.gguf", BadRequest, "goes to the other machine as it is"),
        ("ollama:x", BadRequest, "served where it lies"),
        ("org/none:Q8_0", NetworkError, "reached"),
        ("nosuchmodel", ModelNotFound, "nosuchmodel"),
    ],
)
def test_what_cannot_be_exported_says_why(hub_cache, tmp_path, model, kind, said):
    with pytest.raises(kind, match=said) as told:
        export([model], str(tmp_path / "out"), HERE)
    assert told.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", ["0", "0GiB", "2", "none", "1KiB"])
def test_a_piece_size_that_is_none_is_refused_before_anything_is_read(hub_cache, tmp_path, size):
    with pytest.raises(BadRequest):
        export([DEMO_REPO], str(tmp_path / "out"), HERE, piece_size=size)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["out.tar.gz", "out.zip", "out.TGZ", "model.gguf"])
def test_a_bundle_is_not_packed(hub_cache, tmp_path, name):
    with pytest.raises(BadRequest, match="no place for a bundle"):
        export([DEMO_REPO], str(tmp_path / name), HERE)
    assert not (tmp_path / name).exists()


def test_a_model_that_is_named_twice_is_there_once(hub_cache, tmp_path, capsys):
    export([DEMO_REPO, f"{DEMO_REPO}:Q8_0"], str(tmp_path / "out"), HERE, as_json=True)
    assert len(json.loads(capsys.readouterr().out)["models"]) == 1


def test_a_tar_is_not_written_to_a_terminal(hub_cache, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(BadRequest, match="terminal"):
        export([DEMO_REPO], "-", HERE)


@pytest.fixture
def signing(tmp_path):
    """A key, and the file that lets it sign."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen here")
    key = tmp_path / "key"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key), check=True)
    signers = tmp_path / "signers"
    signers.write_text(f"alice {key.with_suffix('.pub').read_text()}")
    return str(key), str(signers)


@pytest.mark.parametrize(("signed", "ending"), [(True, " --signers FILE\n"), (False, "\n")])
def test_what_is_typed_on_the_other_machine_asks_who_has_signed(
    hub_cache, go, tmp_path, signing, capsys, signed, ending
):
    place = str(tmp_path / "out")
    export([DEMO_REPO], place, HERE, sign=signing[0] if signed else None)
    assert f"edgellm import {place}{ending}" in capsys.readouterr().out


def test_who_has_signed_is_told_as_json_and_to_people(hub_cache, go, tmp_path, signing, capsys):
    key, signers = signing
    place = str(tmp_path / "out")
    export([DEMO_REPO], place, HERE, sign=key, as_json=True)
    told = capsys.readouterr()
    assert f"signing with {key}\n" in told.err
    fingerprint = json.loads(told.out)["signed_with"]
    by = {"principal": "alice", "key": fingerprint}
    verify([place], signers=signers)
    made_at = json.loads((Path(place) / MANIFEST).read_text())["made_at"]
    words = f"{place}: exported {made_at[:10]}, signed by alice ({fingerprint})"
    assert words in " ".join(capsys.readouterr().out.split())
    verify([place], signers=signers, as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["signed_by"] == by
    verify([place], as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["signed_by"] is None
    go()
    import_bundle(place, only_list=True, signers=signers, as_json=True)
    assert json.loads(capsys.readouterr().out)["signed_by"] == by
    import_bundle(place, signers=signers, as_json=True)
    told = capsys.readouterr()
    assert json.loads(told.out)["signed_by"] == by
    assert f", signed by alice ({fingerprint})" in told.err
    assert json.loads(told.out)["made_at"] == made_at


@pytest.mark.parametrize("kind", ["out", "out.tar"])
@pytest.mark.parametrize("is_signed", [True, False])
def test_a_signature_that_nobody_checks_is_told_as_such(
    hub_cache, go, tmp_path, signing, capsys, kind, is_signed
):
    place = str(tmp_path / kind)
    export([DEMO_REPO], place, HERE, sign=signing[0] if is_signed else None)
    go()
    capsys.readouterr()
    words = "; its signature was not checked: --signers FILE" if is_signed else ", not signed"
    import_bundle(place, as_json=True)
    told = capsys.readouterr()
    assert words in told.err
    assert json.loads(told.out)["has_signature"] is is_signed
    verify([place])
    assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("by", ["variable", "settings"])
def test_a_machine_may_take_signed_bundles_only(hub_cache, go, tmp_path, signing, monkeypatch, by):
    key, signers = signing
    export([DEMO_REPO], str(tmp_path / "unsigned"), HERE)
    export([DEMO_REPO], str(tmp_path / "signed"), HERE, sign=key)
    there = go()
    if by == "variable":
        monkeypatch.setenv("EDGELLM_BUNDLE_SIGNERS", signers)
    else:
        (tmp_path / "config.toml").write_text(f"bundle_signers = {json.dumps(signers)}\n")
        monkeypatch.setenv("EDGELLM_CONFIG", str(tmp_path / "config.toml"))
    for refuse in (
        lambda: import_bundle(str(tmp_path / "unsigned")),
        lambda: import_bundle(str(tmp_path / "unsigned"), only_list=True),
        lambda: verify([str(tmp_path / "unsigned")]),
    ):
        with pytest.raises(BadBundle, match="is not signed"):
            refuse()
    assert not there.root.exists()
    import_bundle(str(tmp_path / "signed"))
    assert len(there.list()) == 1


def test_an_empty_name_of_a_file_of_signers_is_no_permission(hub_cache, tmp_path, monkeypatch):
    export([DEMO_REPO], str(tmp_path / "out"), HERE)
    monkeypatch.setenv("EDGELLM_BUNDLE_SIGNERS", "")
    with pytest.raises(ConfigError, match="can't be read"):
        import_bundle(str(tmp_path / "out"))


def test_a_key_that_is_not_there_is_said_before_anything_is_fetched(tmp_path, signing):
    with pytest.raises(BadRequest, match="there is no key"):
        export(["org/none:Q8_0"], str(tmp_path / "out"), HERE, sign=str(tmp_path / "none"))
    with pytest.raises(BadRequest, match="for bundles"):
        verify(signers=signing[1])
