"""Projectors by flag and by themselves, beside a copy of the demo model."""

import shutil

import pytest
from hub_server import HubServer
from pictures import png, png_of
from projector_files import audio_projector_bytes, projector_bytes

from edgellm import resources
from edgellm.cli.attachments import image_parts
from edgellm.cli.flags.seeing import Seeing
from edgellm.cli.preparing.fetching import fetch_model
from edgellm.cli.preparing.prepare import prepare
from edgellm.cli.preparing.resolve import on_disk, resolve
from edgellm.config import Config
from edgellm.errors import BadGGUF, BadRequest, ModelNotFound
from edgellm.selector.plan import Goal


@pytest.fixture
def hardware():
    from selector_machines import machine

    return machine(ram=16)


@pytest.fixture
def folder(tmp_path):
    shutil.copy(resources.demo_model(), tmp_path / "m-Q8_0.gguf")
    return tmp_path


def add(folder, name="mmproj-F16.gguf", **shape):
    path = folder / name
    path.write_bytes(projector_bytes(**shape))
    return path


def plan(folder, hardware, **flags):
    resolved = Seeing(**flags).applied(on_disk(folder / "m-Q8_0.gguf"))
    return prepare(resolved, hardware, Goal()).plan


def test_a_projector_beside_the_model_is_used_by_itself(folder, hardware):
    path = add(folder)
    found = plan(folder, hardware)
    assert (found.projector, found.modalities) == (str(path), ("vision",))


def test_one_for_sound_is_used_by_itself_too(folder, hardware):
    path = folder / "mmproj-F16.gguf"
    path.write_bytes(audio_projector_bytes())
    found = plan(folder, hardware)
    assert (found.projector, found.modalities) == (str(path), ("audio",))
    assert any("it hears sound through mmproj-F16.gguf" in reason for reason in found.reasons)


def test_without_one_the_model_is_served_for_text(folder, hardware):
    assert plan(folder, hardware).projector is None


def test_it_can_be_left_out(folder, hardware):
    add(folder)
    assert plan(folder, hardware, no_mmproj=True).projector is None


def test_the_users_own_goes_before_the_one_beside(folder, hardware, tmp_path_factory):
    add(folder)
    own = add(tmp_path_factory.mktemp("elsewhere"), "eyes.gguf", seed=9)
    assert plan(folder, hardware, mmproj=str(own)).projector == str(own)


def test_one_beside_that_does_not_suit_is_told_once_and_left_out(folder, hardware, capsys):
    add(folder, width=64)
    assert plan(folder, hardware).projector is None
    assert capsys.readouterr().err.count("made for another model") == 1


def test_the_users_own_must_suit(folder, hardware, tmp_path):
    own = add(tmp_path, "eyes.gguf", width=64)
    with pytest.raises(BadGGUF, match=r"eyes\.gguf.*vectors have 64 numbers, this model's 256"):
        plan(folder, hardware, mmproj=str(own))
    with pytest.raises(BadGGUF, match="no projector"):
        plan(folder, hardware, mmproj=str(folder / "m-Q8_0.gguf"))
    with pytest.raises(ModelNotFound, match=f"--mmproj: there is no file {folder}/nothing.gguf"):
        plan(folder, hardware, mmproj=str(folder / "nothing.gguf"))
    with pytest.raises(BadRequest, match="exclude"):
        plan(folder, hardware, mmproj=str(own), no_mmproj=True)


@pytest.fixture
def hub(monkeypatch):
    with HubServer(license="mit") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.add("org/repo", "m-Q8_0.gguf", resources.demo_model().read_bytes())
        hub.add("org/repo", "mmproj-F16.gguf", projector_bytes())
        yield hub


def test_a_repositorys_projector_comes_along_and_is_used(hub, hardware, tmp_path):
    config = Config(cache_dir=str(tmp_path / "cache"))
    resolved = Seeing().applied(resolve("org/repo:Q8_0", config))
    plan = prepare(resolved, hardware, Goal()).plan
    assert plan.projector.endswith("/mmproj-F16.gguf")
    again = Seeing().applied(resolve("org/repo:Q8_0", config))
    assert again.is_local
    assert prepare(again, hardware, Goal()).plan.projector == plan.projector


def test_a_repositorys_projector_is_not_fetched_for_who_does_not_want_it(hub, hardware, tmp_path):
    config = Config(cache_dir=str(tmp_path / "cache"))
    resolved = Seeing(no_mmproj=True).applied(resolve("org/repo:Q8_0", config))
    assert prepare(resolved, hardware, Goal()).plan.projector is None
    assert not [*tmp_path.rglob("mmproj*")]


def test_pull_brings_the_projector_too(hub, tmp_path):
    fetch_model("org/repo:Q8_0", Config(cache_dir=str(tmp_path / "cache")), is_quiet=True)
    assert [*tmp_path.rglob("mmproj-F16.gguf")]


def test_pictures_of_a_question_are_read_from_this_disk(tmp_path):
    good, huge = tmp_path / "good.png", tmp_path / "huge.png"
    good.write_bytes(png())
    huge.write_bytes(png_of(60_000, 60_000, b""))
    (part,) = image_parts([str(good)])
    assert part.image_url.url.startswith("data:image/*;base64,iVBOR")
    with pytest.raises(BadRequest, match=r"huge\.png: 60000"):
        image_parts([str(good), str(huge)])
    with pytest.raises(BadRequest, match=r"none\.png: No such file"):
        image_parts([str(tmp_path / "none.png")])
