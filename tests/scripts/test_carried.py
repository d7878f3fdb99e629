import shutil
import subprocess
from pathlib import PurePath

import pytest

from edgellm.probe.sources import SystemSources
from scripts.setup import carried

LISTED = '[tool.hatch.build.targets.sdist]\ninclude = ["edgellm", "README.md"]\n'


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    for name in ("edgellm/api.py", "edgellm/__pycache__/api.pyc", ".venv/bin/python", "notes.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "README.md").write_text("")
    (root / "pyproject.toml").write_text(LISTED)
    return root


def files(root):
    return [str(path) for path in carried.files(root, SystemSources())]


def git(root, *words):
    subprocess.run(("git", "-C", root, *words), check=True, capture_output=True)


def test_without_git_it_is_what_the_source_package_holds(checkout):
    assert files(checkout) == ["README.md", "edgellm/api.py", "pyproject.toml"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_with_git_it_is_what_git_knows_and_is_still_there(checkout):
    git(checkout, "init")
    (checkout / "edgellm/gone.py").write_text("")
    git(checkout, "add", "edgellm", "pyproject.toml", "notes.md")
    (checkout / "edgellm/gone.py").unlink()
    (checkout / "edgellm/scratch.py").write_text("")
    assert files(checkout) == ["edgellm/api.py", "pyproject.toml"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_repository_that_it_was_unpacked_in_is_nobodys_concern(checkout):
    git(checkout.parent, "init")
    assert files(checkout) == ["README.md", "edgellm/api.py", "pyproject.toml"]


def test_programs_stay_programs(checkout, tmp_path):
    (checkout / "edgellm/api.py").chmod(0o755)
    carried.copy(checkout, (PurePath("edgellm/api.py"),), tmp_path / "there")
    assert (tmp_path / "there/edgellm/api.py").stat().st_mode & 0o777 == 0o755
