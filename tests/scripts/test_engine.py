import io
import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from scripts_fakes import FakeSources

from edgellm.probe.sources import Output
from scripts.setup.engine import Engine
from scripts.setup.install import _ways
from scripts.setup.kept_build import keep_the_last_used
from scripts.setup.machine import Machine, Nvidia
from scripts.setup.packed import Pack, PackedEngine
from scripts.setup.progress import Painter
from scripts.setup.source_build import PORTABLE, recipe
from scripts.setup.target import Target

ROOT = Path(__file__).parents[2]
CARD = Nvidia(("RTX 3090",), (12, 4), ((8, 6),))
FLAGS = frozenset(("avx2", "fma", "f16c", "bmi2"))
MACHINE = Machine("Linux", "x86_64", nvidia=CARD, cpu_flags=FLAGS)


@pytest.fixture
def engine(tmp_path):
    def make(programs=None, index="none", cmake_args="", files=None, pack=None):
        sources = FakeSources(tmp_path, programs=programs, files=files)
        base = None if index == "none" else index
        log, painter = tmp_path / "log", Painter(io.StringIO())
        return Engine(ROOT, MACHINE, sources, painter, log, base, cmake_args, pack)

    return make


def installed(*registries):
    return {"pip": "", "registry_child": json.dumps({"registries": registries})}


def test_what_is_installed_stays_when_it_has_the_backend(engine):
    assert engine(installed("CUDA", "CPU")).present("cuda") is None
    assert engine(installed("CPU")).present("cpu") is None


def test_a_cpu_build_is_not_good_enough_for_a_card(engine):
    assert "has no CUDA backend" in engine(installed("CPU")).present("cuda")


def test_what_is_not_installed_is_not_there(engine):
    assert "not installed" in engine({"pip": Output("", code=1)}).present("cpu")


def test_own_cmake_switches_mean_a_compilation(engine):
    own = engine(installed("CPU"), "http://127.0.0.1:1", "-DGGML_BLAS=on")
    assert own.present("cpu") == own.wheel("cpu") == "CMAKE_ARGS is set"


def test_the_index_can_be_switched_off(engine):
    assert engine().wheel("cuda") == "EDGELLM_WHEEL_INDEX=none"


def test_an_index_that_is_down_is_asked_once(engine):
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    served = engine(index=f"http://127.0.0.1:{port}")
    first = served.wheel("cuda")
    assert "no prebuilt wheel for cu124" in first
    assert "can't be reached" in first
    with socket.create_server(("127.0.0.1", port)) as late:
        second = served.wheel("cpu")
        assert second == first.replace(" for cu124", ""), "its kind is said by who tells it"
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.accept()


def pack(folder, *tags, has_source=False):
    engines = [PackedEngine(tag, f"engine/{tag}/absent.whl", "upstream's", None) for tag in tags]
    return Pack(folder, Target("linux-x86_64", ("3.12",)), tuple(engines), has_source, False)


def ways(engine):
    return [(kind, way.__name__) for kind, way in _ways(engine)]


def test_of_a_pack_nothing_is_asked_for_elsewhere(engine, tmp_path):
    """Nor compiled, unless its sources were packed."""
    packed = [("cuda", "present"), ("cuda", "packed"), ("cpu", "present"), ("cpu", "packed")]
    assert ways(engine(pack=pack(tmp_path))) == packed
    compiled = ways(engine(pack=pack(tmp_path, has_source=True)))
    assert set(compiled) == {*packed, ("cuda", "compile"), ("cpu", "compile")}


def test_a_card_that_nothing_was_packed_for_is_told_how_to_pack_for_it(engine, tmp_path):
    served = engine(pack=pack(tmp_path, "cpu"))
    assert served.packed("cuda") == "none was packed for CUDA: scripts/pack --for cuda"
    assert served.sources.asked == []


def test_own_cmake_switches_leave_a_packed_wheel_alone(engine, tmp_path):
    own = engine(pack=pack(tmp_path, "cpu"), cmake_args="-DGGML_BLAS=on")
    assert own.packed("cpu") == "CMAKE_ARGS is set"


def test_a_packed_wheel_that_pip_refuses_is_named(engine, tmp_path):
    refused = engine(pack=pack(tmp_path, "cpu")).packed("cpu")
    assert f"{tmp_path}/engine/cpu/absent.whl can't be installed" in refused


def test_sources_in_a_folder_of_pips_settings_are_no_llama_that_is_installed(engine):
    """The dry run that looks for one would find them good enough."""
    asked = engine(installed("CPU"))
    asked.present("cpu")
    assert "--isolated" in asked.sources.asked[0]


def test_no_compiler_is_a_clause_with_the_command_that_brings_one(engine):
    debian = {"/etc/os-release": "ID=debian\n"}
    answer = engine(files=debian).compile("cpu")
    assert answer.startswith("no C++ compiler; get it: ")
    assert answer.endswith("apt install build-essential")


GXX = {("c++", "--version"): "c++ 12"}
CACHED = "/cache/wheels/a7/llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl\n"


def asked_pip_for(engine):
    return [argv for argv in engine.sources.asked if "install" in argv]


def test_a_wheel_that_pips_settings_lead_to_is_no_compilation(engine):
    found = engine(GXX | {"pip": ""})
    assert found.compile("cpu") is None
    (argv,) = asked_pip_for(found)
    assert "--only-binary" in argv
    assert argv[-1] == found.requirement


@pytest.fixture
def empty_index(tmp_path, monkeypatch):
    """pip finds nothing, and what was compiled before is the test's own."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def keep_a_wheel(engine, kind="cpu"):
    """One that pip refuses."""
    kept = engine._kept(recipe(MACHINE, kind, engine.sources))
    kept.folder.mkdir(parents=True, exist_ok=True)
    (kept.folder / "llama_cpp_python-0.0.0-py3-none-any.whl").write_text("")
    return kept


@pytest.mark.usefixtures("empty_index")
def test_a_wheel_that_was_compiled_here_is_installed_again(engine):
    """pip says no to it; nothing else was tried."""
    before = engine(GXX | {"pip": CACHED})
    kept = keep_a_wheel(before)

    assert "compilation failed" in before.compile("cpu")
    assert asked_pip_for(before) == []
    assert str(kept.wheel) in before.log.read_text()


@pytest.mark.usefixtures("empty_index")
def test_a_wheel_that_is_installed_outlives_those_that_nobody_asked_for_since(engine):
    ours = engine(GXX)
    kept = keep_a_wheel(ours)
    os.utime(kept.wheel, (0, 0))
    others = [kept.folder.with_name(f"other{n}") for n in range(3)]
    for n, other in enumerate(others, 1):
        other.mkdir()
        (other / "llama_cpp_python-0.0.0-py3-none-any.whl").touch()
        os.utime(other / "llama_cpp_python-0.0.0-py3-none-any.whl", (n, n))
    ours.compile("cpu")

    assert kept.wheel
    assert [bool([*other.glob("*.whl")]) for other in others] == [False, True, True]


@pytest.mark.usefixtures("empty_index")
def test_while_a_wheel_is_installed_nobody_else_tidies_it_away(engine):
    class Installing(Engine):
        def _pip(self, title, arguments, how=None):
            keep_the_last_used(kept.folder.parent, 0)
            return Path(arguments[-1]).exists()

    made = engine(GXX)
    kept = keep_a_wheel(made)
    ours = Installing(ROOT, MACHINE, made.sources, made.painter, made.log, None, "")

    assert ours.compile("cpu") is None
    keep_the_last_used(kept.folder.parent, 0)
    assert kept.wheel is None


@pytest.mark.usefixtures("empty_index")
def test_a_kept_wheel_that_does_not_run_here_gives_way_to_a_compilation(engine):
    """Its sources are asked for, and are not there."""
    elsewhere = engine(GXX | {"pip": CACHED})
    kept = keep_a_wheel(elsewhere)
    elsewhere.compile("cpu")
    assert "pip download" not in elsewhere.log.read_text()

    assert ("cpu", elsewhere.recompile) in _ways(elsewhere)
    elsewhere.recompile("cpu")
    assert kept.wheel is None
    assert "pip download" in elsewhere.log.read_text()


@pytest.mark.usefixtures("empty_index")
def test_what_was_compiled_here_a_moment_ago_is_not_compiled_again(engine):
    fresh = engine(GXX | {"pip": Output("", code=1)})
    assert "compilation failed" in fresh.compile("cpu")
    assert ("cpu", fresh.recompile) not in _ways(fresh)


@pytest.mark.usefixtures("empty_index")
def test_a_cached_wheel_of_another_version_is_not_taken_for_ours(engine):
    found = engine(GXX | {"pip": CACHED.replace("0.3.36", "0.2.90")})
    assert found.compile("cpu") is None
    assert [argv for argv in asked_pip_for(found) if "--only-binary" in argv]
    assert not found.log.exists()


@pytest.mark.usefixtures("empty_index")
def test_the_cached_wheel_of_our_version_is_the_one_that_is_installed(engine):
    """Not the latest that would do, which would have to be compiled."""
    found = engine(GXX | {"pip": CACHED.replace("0.3.36", engine()._version)})
    found.compile("cpu")
    assert f"llama-cpp-python=={found._version}\n" in found.log.read_text()


@pytest.mark.usefixtures("empty_index")
def test_a_wheel_that_travels_is_kept_apart_from_this_machines_own(engine):
    """A native one ends with SIGILL elsewhere."""
    ours = engine(GXX)
    keep_a_wheel(ours)
    travels = ours._kept(recipe(MACHINE, "cpu", ours.sources, PORTABLE))
    wheel = travels.folder / "llama_cpp_python-0.0.0-py3-none-any.whl"
    travels.folder.mkdir(parents=True, exist_ok=True)
    wheel.write_text("")

    assert ours.portable() == wheel
    assert "-DGGML_NATIVE=OFF" in PORTABLE
    wheel.unlink()
    assert "compilation failed" in ours.portable()


NVCC = ("nvcc", "--version")


def folder(engine, kind="cpu", **changes):
    """Where the wheel is kept that a machine compiles, which differs from ours by `changes`."""
    changed = replace(engine, machine=replace(engine.machine, **changes))
    return changed._kept(recipe(changed.machine, kind, changed.sources)).folder


@pytest.mark.usefixtures("empty_index")
def test_a_kept_wheel_is_for_its_toolkit_compiler_c_library_and_instruction_sets(engine):
    ours = engine(GXX | {NVCC: "release 12.4, V12.4.131"})
    same = engine(GXX | {NVCC: "release 12.4, V12.4.131"})
    newer_cuda = engine(GXX | {NVCC: "release 13.0, V13.0.48"})
    newer_gcc = engine({("c++", "--version"): "c++ 14"})

    assert folder(ours, "cuda") == folder(same, "cuda") != folder(newer_cuda, "cuda")
    assert folder(ours) == folder(newer_cuda) != folder(newer_gcc)
    assert folder(ours) != folder(ours, libc="glibc 2.41")
    arm = {"architecture": "aarch64", "nvidia": None}
    plain, dotprod = (frozenset(words.split()) for words in ("fp asimd", "fp asimd asimddp"))
    assert folder(ours, cpu_flags=plain, **arm) != folder(ours, cpu_flags=dotprod, **arm)


@pytest.mark.usefixtures("empty_index")
def test_a_kept_wheel_for_a_card_that_does_not_run_gives_way_to_a_compilation_for_it(engine):
    """And is not followed by one for the CPU, which would run."""
    ours = engine(GXX | {NVCC: "release 12.4, V12.4.131", "pip": Output("", code=1)})
    kept = keep_a_wheel(ours, "cuda")
    tried = []
    for kind, way in _ways(ours):
        tried.append((kind, way.__name__))
        way(kind)
        if kind == "cpu":
            break

    assert tried[-3:-1] == [("cuda", "compile"), ("cuda", "recompile")]
    assert kept.wheel is None


@pytest.mark.usefixtures("empty_index")
def test_of_a_kind_that_has_no_compiler_nothing_was_kept(engine):
    ours = engine(GXX)
    ours.was_ready_made = True  # the kind before
    ours.compile("cuda")
    assert not ours.was_ready_made


@pytest.mark.parametrize("home", ["/proc/nowhere", "a file"])
def test_who_may_not_write_at_home_compiles_in_the_environment(engine, monkeypatch, tmp_path, home):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", home if home.startswith("/") else str(tmp_path / home))
    ours = replace(engine(GXX), root=tmp_path)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())

    assert folder(ours).parent == tmp_path / ".venv" / "cache"


@pytest.mark.usefixtures("empty_index")
def test_a_compilation_that_found_no_memory_says_so(engine, monkeypatch, tmp_path):
    """pip's part is a program that says what it says."""
    killed = (
        "print('c++: fatal error: Killed signal terminated program cc1plus'); raise SystemExit(1)"
    )
    ours = engine(GXX | {"pip": CACHED.replace("0.3.36", engine()._version)})
    package = tmp_path / "shadow" / "pip"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(killed)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))

    assert "for want of memory: CMAKE_BUILD_PARALLEL_LEVEL=1 scripts/run" in ours.compile("cpu")


def test_the_requirement_is_the_projects_own(engine):
    assert engine().requirement.startswith("llama-cpp-python>=")
