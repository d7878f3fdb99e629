"""The shell part, with a PATH of its own: nothing is installed here."""

import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
PATIENCE_S = 60.0
TOOLS = ("bash", "cat", "cksum", "dirname", "rm", "tr")
OLD_PYTHON = 'case "$2" in *platform*) echo "Python 3.9.18" ;; *) exit 1 ;; esac'


@pytest.fixture
def checkout(tmp_path):
    """A copy of the scripts beside a pyproject.toml, with a space in its path."""
    root = tmp_path / "my checkout"
    shutil.copytree(SCRIPTS, root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "pyproject.toml").write_text('[project]\nname = "edgellm"\n')
    return root


@pytest.fixture
def path(tmp_path):
    """A folder of programs: a few real ones, and those that a test adds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


def program(place, body):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\n{body}\n")
    place.chmod(place.stat().st_mode | stat.S_IXUSR)


def bash(checkout, path, command):
    return subprocess.run(
        ["bash", "-c", f". scripts/lib/environment.sh; {command}"],
        cwd=checkout,
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def installed(checkout, path, purpose="run"):
    program(checkout / ".venv/bin/edgellm", 'echo "edgellm $@"')
    stamped = bash(checkout, path, f'echo "$(environment_key) {purpose}" >.venv/setup.stamp')
    assert stamped.returncode == 0


def test_an_old_python_is_one_clear_sentence(checkout, path):
    program(path / "python3", OLD_PYTHON)
    program(path / "apt", "")
    said = subprocess.run(
        ["bash", "scripts/run"],
        cwd=checkout,
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert said.returncode == 1
    assert said.stderr == (
        "edgellm needs Python 3.11 or newer, here is Python 3.9.18. Install uv "
        "(https://docs.astral.sh/uv), which fetches one, or: "
        "sudo apt install python3.11 python3.11-venv\n"
    )
    assert not (checkout / ".venv").exists()


def test_help_before_the_first_set_up_compiles_nothing(checkout, path):
    (path / "sed").symlink_to(shutil.which("sed"))
    said = subprocess.run(
        ["bash", "scripts/run", "--help"],
        cwd=checkout,
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert said.returncode == 0
    assert said.stdout.startswith("Set edgellm up")
    assert "CMAKE_ARGS" in said.stdout
    assert not (checkout / ".venv").exists()


def test_uv_makes_the_environment_without_asking_the_network_for_pip(checkout, path):
    program(
        path / "uv",
        """for word in "$@"; do [ "$word" = --seed ] && exit 1; done
mkdir -p .venv/bin && printf '#!/bin/sh\\necho "$@" >>pip-came-from' >.venv/bin/python
chmod +x .venv/bin/python""",
    )
    program(path / "python3", "exit 0")
    for tool in ("mkdir", "chmod"):
        (path / tool).symlink_to(shutil.which(tool))
    said = bash(checkout, path, "make_environment && ensure_pip")
    assert said.returncode == 0, said.stderr
    assert (checkout / "pip-came-from").read_text() == "-m pip --version\n"


def test_uv_is_asked_for_a_python_where_there_is_none(checkout, path):
    program(path / "uv", 'echo "$@" >&2; exit 1')
    said = bash(checkout, path, "make_environment")
    assert "no Python 3.11 or newer here: uv fetches 3.12" in said.stderr
    assert "venv --quiet --clear --python 3.12 .venv" in said.stderr


@pytest.mark.parametrize("at", ["venv", "pip", "install"])
def test_ctrl_c_ends_a_set_up_with_a_word_and_no_traceback(checkout, path, at):
    """Wherever it is: while Python makes the environment, looks for pip, or installs."""
    (path / "sleep").symlink_to(shutil.which("sleep"))
    (path / "mkdir").symlink_to(shutil.which("mkdir"))
    (path / "ln").symlink_to(shutil.which("ln"))
    program(
        path / "python3",
        f"""case "$*" in
            *"-m venv"*) mkdir -p .venv/bin; ln -s "$0" .venv/bin/python ;;
        esac
        case "$*" in
            *"-m {at}"*|*.{at}*) trap 'echo Traceback >&2; exit 1' INT; echo >begun; sleep 9 ;;
        esac""",
    )
    with subprocess.Popen(
        ["bash", "scripts/run"],
        cwd=checkout,
        env={"PATH": str(path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        until_s = time.monotonic() + PATIENCE_S
        while not (checkout / "begun").exists():
            assert time.monotonic() < until_s
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130
    assert said.endswith("again goes on from here\n")
    assert said.count("Traceback") == (at == "install"), "install.py has no traceback of its own"


# A Python whose environment has a pip and whose set-up takes until it may end.
INSTALLS = """case "$*" in
    *"-m venv"*) mkdir -p .venv/bin; ln -s "$0" .venv/bin/python ;;
    *scripts.setup.install*)
        echo installed >>installs; until [ -e go ]; do sleep 0.05; done
        printf '#!/bin/sh\\necho edgellm "$@"\\n' >.venv/bin/edgellm; chmod +x .venv/bin/edgellm ;;
esac"""


@pytest.mark.parametrize("locker", ["flock", "perl"])
def test_of_two_first_runs_at_once_one_sets_up_and_the_other_waits(checkout, path, locker):
    """A service and a terminal, say."""
    if shutil.which(locker) is None:
        pytest.skip(f"no {locker} here")
    for tool in (locker, "sleep", "mkdir", "ln", "chmod"):
        (path / tool).symlink_to(shutil.which(tool))
    program(path / "python3", INSTALLS)
    told = checkout / "told"
    with told.open("w") as stderr:
        how = {"stdout": subprocess.PIPE, "stderr": stderr, "text": True}
        both = [
            subprocess.Popen(["bash", "scripts/run"], cwd=checkout, env={"PATH": str(path)}, **how)
            for _ in range(2)
        ]
    until_s = time.monotonic() + PATIENCE_S
    while "waiting for it" not in told.read_text() and time.monotonic() < until_s:
        time.sleep(0.02)
    (checkout / "go").touch()
    said = [one.communicate(timeout=PATIENCE_S)[0] for one in both]

    assert [one.returncode for one in both] == [0, 0], told.read_text()
    assert said == ["edgellm up\n"] * 2
    assert (checkout / "installs").read_text() == "installed\n"
    waited = [line for line in told.read_text().splitlines(True) if "waiting for it" in line]
    assert waited == ["another scripts/run or scripts/test sets up .venv here; waiting for it\n"]


def test_who_waits_for_a_set_up_that_fails_does_it_himself(checkout, path):
    if shutil.which("flock") is None:
        pytest.skip("no flock here")
    for tool in ("flock", "sleep"):
        (path / tool).symlink_to(shutil.which(tool))
    tried = 'set_up() { echo "$1" >>tried; sleep 0.5; die failed; }; ensure_environment run'
    both = [
        subprocess.Popen(
            ["bash", "-c", f". scripts/lib/environment.sh; {tried}"],
            cwd=checkout,
            env={"PATH": str(path)},
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for one in both:
        one.communicate(timeout=PATIENCE_S)

    assert (checkout / "tried").read_text() == "run\nrun\n"


def test_a_venv_module_without_pip_is_explained(checkout, path):
    program(path / "python3", 'case "$*" in *venv*) exit 1 ;; esac')
    program(path / "apt", "")
    said = bash(checkout, path, "make_environment")
    assert said.returncode == 1
    assert "Get it: sudo apt install python3-venv" in said.stderr


def test_the_newest_python_that_runs_is_taken(checkout, path):
    program(path / "python3.13", "exit 127")  # a shim for a version that is not installed
    program(path / "python3.12", "exit 0")
    program(path / "python3", "exit 0")
    assert bash(checkout, path, "find_python").stdout.strip() == str(path / "python3.12")


def test_nothing_is_done_where_nothing_changed(checkout, path):
    """Beyond a look at what it was installed from: by few programs, none of which is a Python."""
    installed(checkout, path)
    started = checkout / "started"
    for tool in TOOLS:
        (path / tool).unlink()
        program(path / tool, f'echo {tool} >>"{started}"; exec {shutil.which(tool)} "$@"')
    said = subprocess.run(
        ["bash", "scripts/run", "--port", "0"],
        cwd=checkout,
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert said.stdout == "edgellm up --port 0\n"
    assert said.stderr == ""
    assert 1 <= len(started.read_text().split()) <= 6


@pytest.mark.parametrize(
    ("purpose", "asked", "current"),
    [("run", "run", 0), ("run", "dev", 1), ("dev", "run", 0), ("dev", "dev", 0)],
)
def test_the_development_environment_is_enough_for_a_run(checkout, path, purpose, asked, current):
    installed(checkout, path, purpose)
    assert bash(checkout, path, f"is_current {asked}").returncode == current


def test_changed_dependencies_are_installed_again(checkout, path):
    installed(checkout, path)
    (checkout / "pyproject.toml").write_text('[project]\nname = "edgellm"\nversion = "2"\n')
    assert bash(checkout, path, "is_current run").returncode == 1


def test_a_checkout_that_was_moved_is_set_up_again(checkout, path):
    installed(checkout, path)
    program(checkout / ".venv/bin/python", "exit 0")
    (checkout / ".venv/place").write_text(f"{checkout}\n")
    assert bash(checkout, path, "is_usable").returncode == 0
    moved = checkout.rename(checkout.with_name("elsewhere"))
    assert bash(moved, path, "is_current run").returncode == 1
    assert bash(moved, path, "is_usable").returncode == 1


def pack(checkout, path, pythons):
    """What a set-up's shell sees of it."""
    (checkout / "wheels").mkdir()
    (checkout / "wheels" / "pack.toml").write_text(f"# x\npythons = {pythons}\nglibc = 2\n")
    (path / "sed").symlink_to(shutil.which("sed"))


def python(place, version):
    """One that tells its version, and makes an environment of itself."""
    program(
        place,
        f"""case "$*" in
            *version_info*) case "$*" in *" {version}"*) exit 0 ;; esac; exit 1 ;;
            *--version*) echo "Python {version}.0" ;;
            *platform*) echo "Python {version}.0" ;;
            *"-m venv"*) echo "$@" >asked ;;
        esac""",
    )


def test_of_a_pack_only_a_python_that_was_packed_for_will_do(checkout, path):
    pack(checkout, path, '["3.12", "3.11"]')
    for version in ("3.13", "3.11"):
        python(path / f"python{version}", version)
    found = bash(checkout, path, "find_python")
    assert found.stdout.strip() == str(path / "python3.11"), found.stderr


def test_of_a_pack_the_environment_is_made_without_a_pip_and_without_uv(checkout, path):
    pack(checkout, path, '["3.12"]')
    python(path / "python3.12", "3.12")
    program(path / "uv", "echo asked the network >&2; exit 1")
    (checkout / ".venv").mkdir()
    made = bash(checkout, path, "make_environment")
    assert made.returncode == 0, made.stderr
    assert (checkout / "asked").read_text() == "-m venv --clear --without-pip .venv\n"
    assert "network" not in made.stderr


def test_of_a_pack_uvs_own_python_will_do_too(checkout, path):
    pack(checkout, path, '["3.12"]')
    program(path / "uv", 'case "$*" in "python find --offline 3.12") echo /uv/python ;; esac')
    assert bash(checkout, path, "find_python").stdout.strip() == "/uv/python"


def test_a_machine_without_a_python_that_was_packed_for_is_told_both(checkout, path):
    pack(checkout, path, '["3.12", "3.11"]')
    python(path / "python3", "3.9")
    said = bash(checkout, path, "make_environment")
    assert said.returncode == 1
    assert "packed for Python 3.12 or 3.11, here is Python 3.9.0.\n" in said.stderr
    assert "scripts/pack --python X.Y" in said.stderr


def test_a_newer_pack_is_set_up_again(checkout, path):
    installed(checkout, path)
    assert bash(checkout, path, "is_current run").returncode == 0
    (checkout / "wheels").mkdir()
    (checkout / "wheels" / "SHA256SUMS").write_text("other wheels")
    assert bash(checkout, path, "is_current run").returncode == 1


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_shell_scripts_pass_shellcheck():
    files = [
        SCRIPTS / "run",
        SCRIPTS / "test",
        SCRIPTS / "pack",
        SCRIPTS / "lib" / "environment.sh",
    ]
    said = subprocess.run(
        ["shellcheck", "-x", *map(str, files)],
        cwd=SCRIPTS.parent,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert said.stdout == ""
