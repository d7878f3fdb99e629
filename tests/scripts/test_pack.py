import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from scripts.setup.machine import Amd, Machine, Nvidia
from scripts.setup.pack import _finish, _tags
from scripts.setup.packing import Unpackable
from scripts.setup.progress import Painter
from scripts.setup.target import Target

ROOT = Path(__file__).parents[2]
FLAGS = frozenset(("avx2", "fma", "f16c", "bmi2"))
PLAIN = Machine("Linux", "x86_64", cpu_flags=FLAGS)
CARD = Machine("Linux", "x86_64", nvidia=Nvidia((), (12, 4), ((8, 6),)), cpu_flags=FLAGS)
ODD = Machine("Linux", "x86_64", amd=Amd(("gfx803",), None), gpu_vendors=("AMD",), cpu_flags=FLAGS)


@pytest.mark.parametrize(
    ("asked", "machine", "platform", "tags"),
    [
        ([], PLAIN, "linux-x86_64", ("cpu",)),
        ([], CARD, "linux-x86_64", ("cu124", "cpu")),
        ([], ODD, "linux-x86_64", ("cpu",)),
        ([], CARD, "linux-aarch64", ("cpu",)),
        ([], CARD, "macos-arm64", ("metal",)),
        (["cpu"], CARD, "linux-x86_64", ("cpu",)),
        (["cuda12", "cuda13"], PLAIN, "linux-x86_64", ("cu130", "cu121", "cpu")),
        (["vulkan", "rocm", "cu124"], PLAIN, "linux-x86_64", ("cu124", "rocm72", "vulkan", "cpu")),
    ],
)
def test_what_is_packed_follows_the_question_else_this_machine(asked, machine, platform, tags):
    assert _tags(asked, machine, Target(platform, ("3.12",))) == tags


@pytest.mark.parametrize(
    ("asked", "platform", "why"),
    [
        (["cuda12"], "linux-aarch64", "there is no cu121 for linux-aarch64; there are: cpu"),
        (["metal"], "linux-x86_64", "there is no metal for linux-x86_64; there are: cu132, "),
        (["gpu"], "macos-arm64", "there is no gpu for macos-arm64; there are: metal"),
    ],
)
def test_what_nobody_publishes_is_refused_with_what_there_is(asked, platform, why):
    with pytest.raises(Unpackable, match=why):
        _tags(asked, PLAIN, Target(platform, ("3.12",)))


def pack(*words):
    argv = (sys.executable, "-m", "scripts.setup.pack", *words)
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("x", "--python", "3.9"), "'3.9' is no Python 3.11 or newer"),
        (("x", "--python", "new"), "'new' is no Python 3.11 or newer"),
        (("x", "--glibc", "2"), "'2' is no version of glibc"),
        (("x", "--platform", "windows"), "invalid choice: 'windows'"),
    ],
)
def test_bad_words_are_told_before_anything_is_done(words, why):
    said = pack(*words)
    assert said.returncode == 2
    assert why in said.stderr
    assert "Traceback" not in said.stderr


def test_what_is_there_is_not_overwritten(tmp_path):
    place = tmp_path / "precious"
    place.mkdir()
    said = pack("--from", str(tmp_path), "precious")
    assert said.returncode == 1
    assert said.stderr.endswith(f"{place} exists: remove it, or name another place\n")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_help_fits_the_screen_and_teaches():
    said = pack("--help").stdout
    assert "scripts/pack edgellm.tar.gz --for cuda12" in said
    assert len(said.splitlines()) <= 40
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("name", ["edgellm.tar.gz", "edgellm.tar"])
def test_an_archive_unpacks_to_one_folder_that_is_nobodys(tmp_path, name):
    work = tmp_path / f"{name}.part"
    root = work / "edgellm"
    (root / "scripts").mkdir(parents=True)
    (root / "scripts" / "run").write_text("#!/bin/sh\n")
    (root / "scripts" / "run").chmod(0o755)
    _finish(work, root, tmp_path / name, Painter())
    assert not work.exists()
    with tarfile.open(tmp_path / name) as archive:
        entries = archive.getmembers()
    assert {entry.name.partition("/")[0] for entry in entries} == {"edgellm"}
    assert {(entry.uid, entry.uname) for entry in entries} == {(0, "")}
    assert next(e for e in entries if e.name.endswith("run")).mode & 0o111
