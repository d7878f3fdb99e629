"""The real pip, and an index on this machine."""

import functools
import http.server
import io
import threading

import pytest
from scripts_fakes import FakeSources
from wheel_files import wheel

from scripts.setup.engine import Engine
from scripts.setup.machine import Machine
from scripts.setup.packed import PackedEngine
from scripts.setup.packing import Packing, Unpackable, glibc_of
from scripts.setup.progress import Painter
from scripts.setup.target import Target

LINUX = Machine("Linux", "x86_64", libc="glibc 2.36")
PROJECT = """
[build-system]
requires = ["hatchling>=1"]
[project]
dependencies = ["llama-cpp-python>=0.3.36,<0.4", "needed"]
[project.optional-dependencies]
dev = ["tested"]
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of wheels for each project, served as pip's only index, and as upstream's."""
    root = tmp_path / "index"
    served = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=root)
    )
    threading.Thread(target=served.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{served.server_port}"
    for name, value in {
        "CONFIG_FILE": "/dev/null", "INDEX_URL": f"{base}/simple", "NO_CACHE_DIR": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)

    def put(name, *requirements, at="simple", **how):
        folder = root / at / name.replace("_", "-")
        folder.mkdir(parents=True, exist_ok=True)
        wheel(folder, name, *requirements, **how)

    for name in ("needed", "tested", "native", "hatchling", "editables", "pip"):
        put(name)
    put.base = base
    yield put
    served.shutdown()
    served.server_close()


def llama(put, tag="cpu", platform="linux_x86_64"):
    libraries = [("llama_cpp/lib/libggml.so", b"\x7fELF GLIBC_2.2.5 GLIBC_2.17\0GLIBC_2.9")]
    how = {"version": "0.3.36", "tag": f"py3-none-{platform}", "files": libraries}
    put("llama_cpp_python", "native", "web; extra == 'server'", at=tag, **how)


@pytest.fixture
def packing(tmp_path, index):
    def make(target=Target("linux-x86_64", ("3.12",)), base=index.base, for_tests=False):  # noqa: B008
        root = tmp_path / "pack"
        root.mkdir()
        (root / "pyproject.toml").write_text(PROJECT)
        sources, painter = FakeSources(tmp_path), Painter(io.StringIO())
        engine = Engine(root, LINUX, sources, painter, tmp_path / "log", base)
        return Packing(root, engine, target, False, for_tests)

    return make


def names(folder):
    return {path.name.partition("-")[0] for path in folder.glob("*.whl")}


def test_a_pack_holds_what_the_project_and_its_llama_need_and_what_installs_them(packing, index):
    llama(index)
    pack = packing().fill(("cpu",))
    place = "engine/cpu/llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
    flags = ("avx2", "bmi2", "f16c", "fma")
    assert pack.engines == (PackedEngine("cpu", place, "upstream's", (2, 17), flags),)
    assert (pack.folder / place).is_file()
    assert names(pack.folder) == {"needed", "native", "hatchling", "editables", "pip"}


def test_what_the_tests_need_comes_when_it_is_asked_for(packing, index):
    llama(index)
    assert "tested" in names(packing(for_tests=True).fill(("cpu",)).folder)


def test_another_python_gets_what_only_it_needs(packing, index):
    llama(index)
    index("needed", "late; python_version >= '3.99'", version="2.0")
    index("late")
    target = Target("linux-x86_64", ("3.99", "3.12"))
    assert "late" in names(packing(target).fill(("cpu",)).folder)


def test_wheels_are_for_the_target_and_not_for_this_machine(packing, index):
    llama(index, platform="manylinux_2_17_aarch64")
    index("needed", version="2.0", tag="cp312-cp312-manylinux_2_17_aarch64")
    index("needed", version="3.0", tag="cp312-cp312-manylinux_2_99_aarch64")
    pack = packing(Target("linux-aarch64", ("3.12",))).fill(("cpu",))
    assert [path.name for path in pack.folder.glob("needed-*")] == [
        "needed-2.0-cp312-cp312-manylinux_2_17_aarch64.whl"
    ]
    assert pack.engines[0].cpu_flags == ()


def test_a_package_that_is_not_to_be_had_is_named_in_the_log(packing, index):
    llama(index)
    index("needed", "nowhere")  # the only one
    made = packing()
    with pytest.raises(Unpackable, match=r"not all wheels for Python 3\.12 on linux-x86_64"):
        made.fill(("cpu",))
    assert "No matching distribution found for nowhere" in made.engine.log.read_text()


def test_a_card_that_was_asked_for_and_has_no_wheel_is_an_error(packing, index):
    llama(index)
    with pytest.raises(Unpackable, match=r"no prebuilt wheel for cu121: .*404.*; --with-source"):
        packing().fill(("cu121", "cpu"))


def test_another_platforms_llama_is_not_compiled_here(packing):
    with pytest.raises(Unpackable, match="EDGELLM_WHEEL_INDEX=none; --with-source packs"):
        packing(Target("linux-aarch64", ("3.12",)), base=None).fill(("cpu",))


def test_where_it_has_to_be_compiled_and_no_compiler_is_there_that_is_said(packing):
    with pytest.raises(Unpackable, match=r"EDGELLM_WHEEL_INDEX=none; no C\+\+ compiler; get it"):
        packing(base=None).fill(("cpu",))


def test_a_librarys_glibc_is_the_newest_that_it_names(tmp_path):
    made = wheel(
        tmp_path, "x", files=[("a.so.1", b"GLIBC_2.4\0GLIBC_2.34\0"), ("a.py", b"GLIBC_9.9")]
    )
    assert glibc_of(made) == (2, 34)
    assert glibc_of(wheel(tmp_path, "y")) is None
