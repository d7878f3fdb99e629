import os
import tarfile

import pytest

from edgellm.models.fetching.lock import locked
from scripts.setup.kept_build import KeptBuild, keep_the_last_used

SOURCE = "llama_cpp_python-0.3.36"


class Broken(Exception):
    """Ctrl-C, at a moment of the test's choice."""


class Pip:
    """As far as it is asked here. `ends` are those of the builds to come: True, False, Broken.
    A download comes, fails (False), or succeeds and brings nothing (None)."""

    def __init__(self, *ends, downloads=(True,)):
        self.ends, self.downloads, self.built_on = list(ends), list(downloads), []

    def download(self, title, argv):
        folder = argv[argv.index("--dest") + 1]
        comes = self.downloads.pop(0)
        if not comes:
            return comes is None
        with tarfile.open(f"{folder}/{SOURCE}.tar.gz", "w:gz") as package:
            package.add(__file__, f"{SOURCE}/pyproject.toml")
        return True

    def build(self, title, argv):
        """Each try compiles one more file."""
        *_, source = argv
        kept = next(one for one in argv if one.startswith("build-dir="))
        objects = self._folder(kept.removeprefix("build-dir="))
        self.built_on.append(len([*objects.iterdir()]))
        (objects / f"{len(self.built_on)}.o").write_text(source)
        end = self.ends.pop(0)
        if end is Broken:
            raise Broken
        if end:
            wheels = self._folder(argv[argv.index("--wheel-dir") + 1])
            (wheels / "llama_cpp_python-0.3.36-py3-none-any.whl").write_text("")
        return end

    def _folder(self, path):
        folder = self.root / path
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@pytest.fixture
def kept(tmp_path):
    return KeptBuild(tmp_path / "kept", "llama-cpp-python>=0.3")


def made(kept, pip, tmp_path):
    pip.root = tmp_path
    return kept.make(pip.download, pip.build)


def test_of_a_build_that_is_done_the_wheel_stays_and_nothing_else(kept, tmp_path):
    wheel = made(kept, Pip(True), tmp_path)

    assert wheel == kept.wheel
    assert [*kept.folder.iterdir()] == [wheel]


def test_a_build_that_was_broken_off_goes_on_with_its_own_sources_and_objects(kept, tmp_path):
    pip = Pip(Broken, Broken, True)
    for _ in range(2):
        with pytest.raises(Broken):
            made(kept, pip, tmp_path)
        assert kept.is_begun
        assert kept.wheel is None

    assert made(kept, pip, tmp_path)
    assert pip.built_on == [0, 1, 2]
    assert pip.downloads == []


def test_where_it_fails_with_old_objects_it_is_tried_without(kept, tmp_path):
    pip = Pip(Broken, False, True)
    with pytest.raises(Broken):
        made(kept, pip, tmp_path)

    assert made(kept, pip, tmp_path)
    assert pip.built_on == [0, 1, 0]


def test_what_fails_from_the_start_is_not_tried_twice(kept, tmp_path):
    pip = Pip(False)
    assert made(kept, pip, tmp_path) is None
    assert pip.built_on == [0]


def test_sources_that_did_not_come_are_asked_for_again(kept, tmp_path):
    pip = Pip(True, downloads=(False, True))
    assert made(kept, pip, tmp_path) is None
    assert not kept.is_begun
    assert made(kept, pip, tmp_path)


def test_a_download_that_brought_no_package_is_one_that_failed(kept, tmp_path):
    pip = Pip(True, downloads=(None, True))
    assert made(kept, pip, tmp_path) is None
    assert made(kept, pip, tmp_path)


def test_a_wheel_that_is_forgotten_is_made_from_the_beginning(kept, tmp_path):
    pip = Pip(True, True, downloads=(True, True))
    made(kept, pip, tmp_path)
    (kept.folder / "build").mkdir()  # broken off while it was cleared away
    kept.forget()
    assert kept.wheel is None
    assert not kept.is_begun
    assert made(kept, pip, tmp_path)


@pytest.fixture
def several(tmp_path):
    """Five builds: of the last but one the wheel is not made yet; the first is the oldest."""
    builds = []
    for n, name in enumerate(("a.whl", "b.whl", "c.whl", "build", "d.whl")):
        builds.append(KeptBuild(tmp_path / str(n), ""))
        made = builds[-1].folder / name
        made.parent.mkdir()
        made.mkdir() if name == "build" else made.touch()
        os.utime(made, (n, n))
        builds[-1].lock.touch()
    return builds


def here(builds):
    return [n for n, build in enumerate(builds) if build.used_s is not None]


def test_the_builds_that_were_used_last_stay(several, tmp_path):
    several[0].wheel.touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").touch()
    keep_the_last_used(tmp_path, 3)

    assert here(several) == [0, 3, 4]
    assert several[3].is_begun
    keep_the_last_used(tmp_path, 1)
    assert here(several) == [0]
    assert not several[3].is_begun


def test_a_build_that_somebody_works_at_stays(several, tmp_path):
    with locked(several[3].lock):
        keep_the_last_used(tmp_path, 1)

    assert here(several) == [3, 4]
    assert all(build.lock.exists() for build in several), "somebody may be waiting for it"
