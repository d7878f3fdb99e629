"""What lies on a disk, in the layout of Hugging Face's cache. The bytes are the demo's."""

import shutil

import pytest
from selector_machines import machine

from edgellm import resources
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.preparing import shelf as shelf_module
from edgellm.cli.preparing.shelf import Shelf
from edgellm.config import Config
from edgellm.errors import DoesNotFit
from edgellm.selector.memory.budget import pool_budgets

RAM = machine(ram=16)


class Disk:
    def __init__(self, folder, hardware=RAM, models=None):
        self.root, self.said = folder / "hub", []
        config = Config(cache_dir=str(self.root), models=models or {})
        self.shelf = Shelf(config, hardware, ModelOptions(), self.said.append)

    def put(self, repo, file, data=None, commit="a" * 40):
        folder = self.root / f"models--{repo.replace('/', '--')}"
        path = folder / "snapshots" / commit / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(resources.demo_model().read_bytes() if data is None else data)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
        return path

    def remove(self, repo):
        shutil.rmtree(self.root / f"models--{repo.replace('/', '--')}")

    def look(self):
        change = self.shelf.look()
        return [one.name for one in change.come], {*change.gone}


@pytest.fixture
def disk(tmp_path, monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME"):  # where other tools' models and our notes would lie
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return Disk(tmp_path)


def test_all_that_is_here_is_planned_and_sleeps_by_the_names_that_list_shows(disk):
    disk.put("org/one", "one-Q8_0.gguf")
    disk.put("org/two", "two-Q4_0.gguf")
    disk.put("org/two", "two-Q8_0.gguf")
    found = disk.shelf.look().come
    assert [one.name for one in found] == [
        "hf.co/org/one:Q8_0", "hf.co/org/two:Q4_0", "hf.co/org/two:Q8_0",
    ]  # fmt: skip
    assert all(one.sleeps and one.may_go and not one.is_demo for one in found)
    together = sum(one.plan.most_bytes_by_pool["host"] for one in found)
    assert together <= pool_budgets(RAM)["host"], "three small ones fit at once"
    assert disk.look() == ([], set()), "nothing has changed"


def test_the_demo_is_served_where_there_is_nothing_else(disk):
    assert disk.look() == (["demo"], set())
    disk.put("org/one", "one-Q8_0.gguf")
    assert disk.look() == (["hf.co/org/one:Q8_0"], {"demo"})
    disk.remove("org/one")
    assert disk.look() == (["demo"], {"hf.co/org/one:Q8_0"})


def test_what_a_look_could_not_tell_the_next_one_does(disk, monkeypatch):
    disk.put("org/one", "one-Q8_0.gguf")
    assert disk.look() == (["hf.co/org/one:Q8_0"], set())
    disk.remove("org/one")
    with monkeypatch.context() as patch:
        patch.setattr(shelf_module, "demo", refuses)
        with pytest.raises(DoesNotFit):
            disk.look()
    assert disk.look() == (["demo"], {"hf.co/org/one:Q8_0"})


def refuses():
    raise DoesNotFit("not even the demo")


def test_one_that_can_not_be_served_is_told_once_and_left_out(disk):
    disk.put("org/junk", "junk-Q8_0.gguf", b"<html>")
    disk.put("org/one", "one-Q8_0.gguf")
    assert disk.look() == (["hf.co/org/one:Q8_0"], set())
    assert disk.look() == ([], set())
    (said,) = disk.said
    assert said.startswith("left out: hf.co/org/junk:Q8_0: junk-Q8_0.gguf: not a GGUF file")


def test_where_nothing_fits_each_is_told_in_a_line_with_its_sum(tmp_path, disk):
    small = Disk(tmp_path, machine(ram=0.02))
    small.put("org/one", "one-Q8_0.gguf")
    with pytest.raises(DoesNotFit, match="demo"):
        small.look()
    (said,) = small.said
    assert said.startswith("left out: hf.co/org/one:Q8_0")
    assert "does not fit" in said
    assert "\n" not in said


def test_a_newer_file_of_a_name_comes_in_the_olders_place(disk):
    disk.put("org/one", "one-Q8_0.gguf")
    assert disk.look() == (["hf.co/org/one:Q8_0"], set())
    newer = disk.put("org/one", "one-Q8_0.gguf", commit="b" * 40)
    change = disk.shelf.look()
    assert [one.path for one in change.come] == [newer]
    assert change.gone == {"hf.co/org/one:Q8_0"}


def test_who_has_pulled_it_by_the_catalogs_name_may_ask_for_it_by_that(disk):
    disk.put("unsloth/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf")
    (one,) = disk.shelf.look().come
    assert one.aliases == ("qwen3:0.6b-q8_0", "qwen3:0.6b")


def test_one_that_is_pinned_comes_first_and_the_others_have_what_it_leaves(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    plain = Disk(tmp_path)
    for repo in ("org/one", "org/two"):
        plain.put(repo, f"{repo[4:]}-Q8_0.gguf")
    before = {one.name: one for one in plain.shelf.look().come}
    said = {"org/two": {"pinned": True, "name": "steady", "aliases": ["two"], "ctx": 256}}
    disk = Disk(tmp_path, models=said)

    pinned, other = disk.shelf.look().come

    assert (pinned.name, pinned.plan.n_ctx_seq) == ("hf.co/org/two:Q8_0", 256)
    assert pinned.aliases[:2] == ("steady", "two")
    assert (pinned.sleeps, pinned.may_go, other.sleeps, other.may_go) == (False, False, True, True)
    room = pool_budgets(RAM)["host"] - pinned.plan.placement.bytes_by_pool["host"]
    assert other.plan.most_bytes_by_pool["host"] <= room
    assert before[other.name].plan.n_ctx_seq == other.plan.n_ctx_seq, "it is small"


def test_one_that_is_pinned_and_comes_later_takes_turns(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    disk = Disk(tmp_path, models={"org/two": {"pinned": True}, "org/one": {"ctx": 128}})
    disk.put("org/one", "one-Q8_0.gguf")
    (one,) = disk.shelf.look().come
    disk.put("org/two", "two-Q8_0.gguf")

    (two,) = disk.shelf.look().come

    assert one.plan.n_ctx_seq == 128
    assert (two.sleeps, two.may_go) == (True, True)
    assert disk.said == [
        "hf.co/org/two:Q8_0 takes turns until the server starts anew: it is pinned then"
    ]
