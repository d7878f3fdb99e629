"""`verify` as it is typed: what is whole, what is not, and what mends it."""

import json
import shlex
from pathlib import Path

import pytest
import typer
from bundle_runs import DEMO_NAME, DEMO_REPO, filled
from bundle_runs import export as written
from cli_runs import DEMO_PATH

from edgellm.cli.commands.bundles import export
from edgellm.cli.commands.verify import verify
from edgellm.cli.flags.described import Described
from edgellm.errors import BadRequest, ModelNotFound
from edgellm.models.store import Store

HERE = Described()


def test_verify_tells_what_is_whole_and_what_mends_the_rest(hub_cache, capsys):
    verify()
    assert "✓  " + DEMO_NAME in capsys.readouterr().out
    blob = next(hub_cache.rglob("blobs/*"))
    data = bytearray(blob.read_bytes())
    data[1 << 20] ^= 1
    blob.write_bytes(data)
    with pytest.raises(typer.Exit) as ended:
        verify()
    assert ended.value.exit_code == 4
    told = capsys.readouterr().out
    assert f"✗  {DEMO_NAME}" in told
    assert f"→ edgellm rm {DEMO_NAME} && edgellm pull {DEMO_NAME}" in told
    with pytest.raises(typer.Exit):
        verify([DEMO_NAME], as_json=True)
    (model,) = json.loads(capsys.readouterr().out)
    assert (model["state"], model["files"][0]["file"]) == ("broken", "m-Q8_0.gguf")


def test_what_mends_a_projector_that_other_models_need_too(hub_cache, capsys):
    files = {"m-Q8_0.gguf": DEMO_PATH.read_bytes(), "mmproj-F16.gguf": b"GGUF eyes"}
    filled(hub_cache, files, repo=DEMO_REPO)
    blob = (Store(hub_cache).list()[0].snapshot / "mmproj-F16.gguf").resolve()
    blob.write_bytes(b"GGUF eyez")
    with pytest.raises(typer.Exit):
        verify([DEMO_REPO])
    assert f"→ rm {blob} && edgellm pull {DEMO_NAME}" in capsys.readouterr().out


def test_what_mends_can_be_typed_where_folders_have_blanks(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "my disk"))
    files = {"m-Q8_0.gguf": DEMO_PATH.read_bytes(), "mmproj-F16.gguf": b"GGUF eyes"}
    store = filled(tmp_path / "my disk" / "hub", files, repo=DEMO_REPO)
    place = str(tmp_path / "my stick")
    written(store, place)
    for eyes in (next(Path(place).rglob("mmproj*")), store.list()[0].snapshot / "mmproj-F16.gguf"):
        eyes.resolve().write_bytes(b"GGUF eyez")
    with pytest.raises(typer.Exit):
        verify([DEMO_REPO, place], as_json=True)
    stored, bundled = (one["mends"] for one in json.loads(capsys.readouterr().out))
    blob = (store.list()[0].snapshot / "mmproj-F16.gguf").resolve()
    assert shlex.split(stored)[:3] == ["rm", str(blob), "&&"]
    eyes = next(Path(place).rglob("mmproj*"))
    assert shlex.split(bundled) == [
        "rm",
        str(eyes),
        "&&",
        "edgellm",
        "export",
        DEMO_NAME,
        "-o",
        place,
    ]


def test_verify_looks_into_a_bundle(hub_cache, tmp_path, capsys):
    export([DEMO_REPO], str(tmp_path / "out"), HERE)
    verify([str(tmp_path / "out")])
    assert "✓  " + DEMO_NAME in capsys.readouterr().out
    next((tmp_path / "out").rglob("*.gguf")).unlink()
    with pytest.raises(typer.Exit):
        verify([DEMO_NAME, str(tmp_path / "out")])
    told = capsys.readouterr().out
    assert "lacks models/org/demo-GGUF/m-Q8_0.gguf" in told
    assert f"→ edgellm export {DEMO_NAME} -o {tmp_path / 'out'}" in told


def test_what_verify_says_mends_a_bundle_does(hub_cache, tmp_path, capsys):
    """Also a file that has gone bad and is as large as before."""
    place = tmp_path / "out"
    export([DEMO_REPO], str(place), HERE)
    file = next(place.rglob("*.gguf"))
    data = bytearray(file.read_bytes())
    data[1 << 20] ^= 1
    file.write_bytes(data)
    with pytest.raises(typer.Exit):
        verify([str(place)], as_json=True)
    told = capsys.readouterr().out
    (model,) = json.loads(told[told.index("[") :])
    *rest, output = shlex.split(model["mends"])
    assert rest == ["rm", str(file), "&&", "edgellm", "export", DEMO_NAME, "-o"]
    file.unlink()
    export([DEMO_NAME], output, HERE)
    verify([str(place)])


def test_a_model_of_this_disk_is_meant_before_a_folder_of_its_name(
    hub_cache, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    export([DEMO_REPO], DEMO_REPO, HERE)
    next(Path(DEMO_REPO).rglob("*.gguf")).unlink()
    capsys.readouterr()
    verify([DEMO_REPO])
    assert "✓  " + DEMO_NAME in capsys.readouterr().out
    with pytest.raises(typer.Exit):
        verify([f"./{DEMO_REPO}"])
    export([DEMO_REPO], "usb/stick", HERE)
    verify(["usb/stick"])


def test_what_nobody_knows_the_digest_of_is_a_dash(hub_cache, tmp_path, capsys):
    path = Store(hub_cache).list()[0].path
    path.unlink()
    path.write_bytes(DEMO_PATH.read_bytes())
    verify()
    assert f"–  {DEMO_NAME}" in capsys.readouterr().out
    verify([str(path)])
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    for name, kind in (("demo", BadRequest), ("Demo", BadRequest), ("org/none", ModelNotFound)):
        with pytest.raises(kind):
            verify([name])
    with pytest.raises(ModelNotFound, match="nobody knows its digest"):
        verify([str(tmp_path / "x.gguf")])


def test_a_place_that_is_not_there_is_no_file_without_a_digest(hub_cache, tmp_path):
    for place in (tmp_path / "stick", tmp_path / "m.gguf"):
        with pytest.raises(ModelNotFound, match=f"there is neither a file nor a bundle {place}"):
            verify([str(place)])


def test_without_models_there_is_nothing_to_verify(capsys):
    verify()
    assert "no model is here yet" in capsys.readouterr().out
