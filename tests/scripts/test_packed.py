import os
import subprocess
import sys

import pytest
from wheel_files import wheel

from scripts.setup import packed
from scripts.setup.install import accept
from scripts.setup.machine import Machine, Nvidia
from scripts.setup.packed import Pack, PackedEngine
from scripts.setup.progress import Painter
from scripts.setup.target import Target

FLAGS = frozenset(("avx2", "fma", "f16c", "bmi2"))
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
TARGET = Target("linux-x86_64", (HERE,))
LINUX = Machine("Linux", "x86_64", cpu_flags=FLAGS, libc="glibc 2.36")
AVX2 = PackedEngine("cpu", "engine/cpu/a.whl", "upstream's", (2, 17), ("avx2", "fma"))


def engine(tag, glibc=(2, 17), flags=()):
    return PackedEngine(tag, f"engine/{tag}/a.whl", "upstream's", glibc, flags)


def made(root, *engines, target=TARGET, has_source=False, for_tests=False):
    """A pack as scripts/pack leaves it: one wheel, pack.toml and the sums."""
    pack = Pack(root / "wheels", target, engines, has_source, for_tests)
    (root / "edgellm").mkdir()
    (root / "edgellm" / "api.py").write_text("")
    pack.folder.mkdir()
    (pack.folder / "click-8.0.0-py3-none-any.whl").write_bytes(b"a wheel")
    packed.write(pack)
    packed.write_sums(root)
    return pack


def test_a_pack_is_read_as_it_was_written(tmp_path):
    full = PackedEngine("cpu", "engine/cpu/a.whl", "compiled", None, ("avx2",), ("engine/x.so",))
    pack = made(tmp_path, engine("cu124"), full, has_source=True)
    assert packed.read(tmp_path) == pack


def test_a_checkout_without_wheels_is_no_pack(tmp_path):
    assert packed.read(tmp_path) is None


def test_a_pack_of_another_edgellm_says_so(tmp_path):
    made(tmp_path)
    (tmp_path / "wheels" / "pack.toml").write_text('platform = "linux-x86_64"\n')
    with pytest.raises(ValueError, match=r"pack\.toml is not of this edgellm"):
        packed.read(tmp_path)


# ── sums ─────────────────────────────────────────────────────────────────────


def test_a_pack_that_came_whole_is_not_damaged(tmp_path):
    made(tmp_path)
    assert packed.damaged(tmp_path) is None
    listed = (tmp_path / "wheels" / "SHA256SUMS").read_text()
    assert "  edgellm/api.py\n" in listed, "sha256sum -c at its root tells of the checkout, too"


def test_any_changed_byte_of_a_wheel_is_told(tmp_path):
    pack = made(tmp_path)
    wheel = pack.folder / "click-8.0.0-py3-none-any.whl"
    for at in range(len(wheel.read_bytes())):
        changed = bytearray(b"a wheel")
        changed[at] ^= 1
        wheel.write_bytes(changed)
        assert "click-8.0.0-py3-none-any.whl is not what was packed" in packed.damaged(tmp_path)


def test_what_is_missing_or_was_added_is_told(tmp_path):
    pack = made(tmp_path)
    more = pack.folder / "engine" / "click-9.0.0-py3-none-any.whl"
    more.parent.mkdir()
    more.write_bytes(b"a stranger's")
    assert "wheels/engine/click-9.0.0-py3-none-any.whl was not packed" in packed.damaged(tmp_path)
    more.unlink()
    (pack.folder / "click-8.0.0-py3-none-any.whl").unlink()
    assert "is missing" in packed.damaged(tmp_path)


@pytest.mark.parametrize("content", [None, b"no sum", b"\xff\xfe"])
def test_a_list_that_can_not_be_read_is_damage(tmp_path, content):
    pack = made(tmp_path)
    sums = pack.folder / "SHA256SUMS"
    sums.write_bytes(content) if content else sums.unlink()
    assert "SHA256SUMS can't be read" in packed.damaged(tmp_path)


def test_whoever_has_a_pack_may_change_its_checkout(tmp_path):
    made(tmp_path)
    (tmp_path / "edgellm" / "api.py").write_text("mended")
    assert packed.damaged(tmp_path) is None


# ── which engine ─────────────────────────────────────────────────────────────


def test_the_best_engine_that_the_driver_runs_is_taken(tmp_path):
    pack = Pack(tmp_path, TARGET, (engine("cu130"), engine("cu121"), AVX2), False, False)
    old = Machine("Linux", "x86_64", nvidia=Nvidia((), (12, 2), ((8, 6),)), libc="glibc 2.36")
    new = Machine("Linux", "x86_64", nvidia=Nvidia((), (13, 0), ((8, 6),)), libc="glibc 2.36")
    assert pack.engine(old, "cuda") == engine("cu121")
    assert pack.engine(new, "cuda") == engine("cu130")


@pytest.mark.parametrize(
    ("machine", "kind", "why"),
    [
        (LINUX, "vulkan", "none was packed for Vulkan: scripts/pack --for vulkan"),
        (
            Machine("Linux", "x86_64", cpu_flags=frozenset(("fma",)), libc="glibc 2.36"),
            "cpu",
            "the one for cpu does not fit: it needs a CPU with avx2",
        ),
        (
            Machine("Linux", "x86_64", nvidia=Nvidia((), (12, 0), ((8, 6),)), libc="glibc 2.36"),
            "cuda",
            "the one for cu121 does not fit: the driver is for CUDA 12.0, cu121 needs 12.1",
        ),
        (
            Machine("Linux", "x86_64", nvidia=Nvidia((), (12, 4), ((5, 2),)), libc="glibc 2.36"),
            "cuda",
            "the one for cu121 does not fit: "
            "cu121 begins at compute capability 6.0, a card has 5.2",
        ),
        (
            Machine("Linux", "x86_64", cpu_flags=FLAGS, libc="glibc 2.12"),
            "cpu",
            "the one for cpu does not fit: it needs glibc 2.17 or newer, here is 2.12",
        ),
    ],
)
def test_a_machine_that_no_engine_fits_is_told_what_it_has_and_what_is_needed(
    tmp_path, machine, kind, why
):
    pack = Pack(tmp_path, TARGET, (engine("cu121"), AVX2), False, False)
    assert pack.engine(machine, kind) == why


def test_a_build_with_a_variant_for_each_cpu_asks_nothing_of_it(tmp_path):
    pack = Pack(tmp_path, TARGET, (engine("cpu"),), False, False)
    assert pack.engine(Machine("Linux", "x86_64", libc="glibc 2.36"), "cpu") == engine("cpu")


# ── a set-up from it ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("target", "purpose", "why"),
    [
        (Target("linux-aarch64", (HERE,)), "run", "packed for linux-aarch64, here is linux-x86_64"),
        (Target("linux-x86_64", ("2.7",)), "run", f"packed for Python 2.7, here is {HERE}"),
        (
            Target("linux-x86_64", (HERE,), (2, 99)),
            "run",
            "needs glibc 2.99 or newer, here is 2.36",
        ),
        (TARGET, "dev", "what scripts/test needs was not packed: scripts/pack --dev"),
    ],
)
def test_a_pack_for_another_machine_or_use_is_refused_before_anything_is_installed(
    tmp_path, monkeypatch, target, purpose, why
):
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    pack = made(tmp_path, AVX2, target=target)
    with pytest.raises(ValueError, match=why):
        accept(pack, LINUX, purpose, Painter())
    assert "PIP_FIND_LINKS" not in os.environ


def test_once_a_pack_is_accepted_pip_and_uv_know_nothing_else(tmp_path, monkeypatch):
    pack = made(tmp_path, AVX2)
    for name in pack.settings():
        monkeypatch.setenv(name, "the person's own")
    accept(pack, LINUX, "run", Painter())
    assert os.environ["PIP_CONFIG_FILE"] == os.devnull
    assert os.environ["PIP_FIND_LINKS"] == os.environ["UV_FIND_LINKS"] == pack.folder.as_uri()
    assert os.environ["PIP_NO_INDEX"] == os.environ["UV_OFFLINE"] == "1"


def test_a_damaged_pack_is_not_accepted(tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    pack = made(tmp_path, AVX2)
    (pack.folder / "click-8.0.0-py3-none-any.whl").write_bytes(b"b wheel")
    with pytest.raises(ValueError, match="is not what was packed"):
        accept(pack, LINUX, "run", Painter())
    assert "PIP_FIND_LINKS" not in os.environ


def test_a_machine_without_glibc_is_told():
    musl = Machine("Linux", "x86_64", cpu_flags=FLAGS, libc="")
    assert TARGET.misfit(musl, HERE) == "it needs glibc 2.31, here is another C library"


def test_pip_takes_all_from_the_pack_and_looks_nowhere_else(tmp_path):
    """The real pip, in a place whose name has a space, told of an index that nobody may ask."""
    folder = tmp_path / "my stick, 2"
    folder.mkdir()
    wheel(folder, "needed")
    wheel(folder, "wanted", "needed")
    settings = Pack(folder, TARGET, (), False, False).settings()
    elsewhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PATH": os.environ["PATH"]}

    def install(name):
        argv = (sys.executable, "-m", "pip", "install", "--target", str(tmp_path / "site"), name)
        said = subprocess.run(argv, env=elsewhere | settings, capture_output=True, text=True)
        return said.returncode, said.stdout + said.stderr

    code, text = install("wanted")
    assert code == 0, text
    assert {path.name for path in (tmp_path / "site").glob("*.dist-info")} == {
        "needed-1.0.dist-info", "wanted-1.0.dist-info",
    }  # fmt: skip
    code, text = install("absent")
    assert code == 1
    assert "127.0.0.1" not in text
