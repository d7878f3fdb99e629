import pytest
from scripts_fakes import FakeSources

from edgellm.probe.sources import Output
from scripts.setup.machine import Machine, Nvidia
from scripts.setup.packages import how_to_get
from scripts.setup.source_build import Missing, Recipe, estimate, n_jobs, recipe

GXX = {"c++": "c++ (Debian 12.2.0) 12.2.0"}
NVCC_12 = "Cuda compilation tools, release 12.4, V12.4.131"
NVCC_13 = "Cuda compilation tools, release 13.0, V13.0.48"
CPU = Machine("Linux", "x86_64")


def nvidia(*capabilities):
    return Machine("Linux", "x86_64", nvidia=Nvidia((), (12, 4), capabilities))


def test_rpc_is_off_whatever_the_person_says(tmp_path):
    made = recipe(CPU, "cpu", FakeSources(tmp_path, programs=GXX), "-DGGML_RPC=on")
    assert made == Recipe(  # of two, CMake takes the last
        "cpu", "-DGGML_RPC=on -DGGML_RPC=off", compilers=GXX["c++"]
    )


def test_cuda_is_compiled_for_the_cards_that_are_here(tmp_path):
    sources = FakeSources(tmp_path, programs=GXX | {"/usr/local/cuda/bin/nvcc": NVCC_12})
    made = recipe(nvidia((6, 1), (8, 6)), "cuda", sources)
    assert made == Recipe(
        "cuda",
        "-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=61-real;86-real -DGGML_RPC=off",
        "/usr/local/cuda/bin",
        f"{GXX['c++']}\n{NVCC_12}",
    )


def test_a_missing_compiler_is_named(tmp_path):
    assert recipe(CPU, "cpu", FakeSources(tmp_path)) == Missing("c++", "no C++ compiler")
    without_nvcc = recipe(nvidia((8, 6)), "cuda", FakeSources(tmp_path, programs=GXX))
    assert without_nvcc == Missing("nvcc", "no nvcc, the compiler for CUDA")


def test_cuda_13_is_not_asked_for_cards_that_it_forgot(tmp_path):
    sources = FakeSources(tmp_path, programs=GXX | {"nvcc": NVCC_13})
    answer = recipe(nvidia((6, 1), (8, 6)), "cuda", sources)
    assert isinstance(answer, Missing)
    assert "CUDA 13.0 can't compile for compute capability 6.1" in answer.what
    assert "CUDA 12" in how_to_get(answer.tool, sources)


def test_a_mac_without_the_command_line_tools_has_no_compiler(tmp_path):
    mac = Machine("Darwin", "arm64")
    bare = FakeSources(tmp_path, "Darwin", {"c++": "a stub", "xcode-select": Output("", code=2)})
    assert recipe(mac, "metal", bare) == Missing("c++", "no C++ compiler")
    assert how_to_get("c++", bare) == "xcode-select --install"


@pytest.mark.parametrize(
    ("os_release", "command"),
    [
        ("ID=debian\n", "sudo apt install build-essential"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "sudo apt install build-essential"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "sudo dnf install gcc-c++"),
        ("ID=alpine\n", "sudo apk add build-base linux-headers"),
        ('ID="opensuse-leap"\n', "sudo zypper install gcc-c++"),
        ("ID=plan9\n", "install a C++ compiler (g++ or clang++)"),
    ],
)
def test_each_distribution_calls_the_compiler_by_its_own_name(tmp_path, os_release, command):
    sources = FakeSources(tmp_path, files={"/etc/os-release": os_release})
    assert how_to_get("c++", sources, is_root=False) == command


def test_root_needs_no_sudo(tmp_path):
    sources = FakeSources(tmp_path, files={"/etc/os-release": "ID=debian\n"})
    assert how_to_get("nvcc", sources, is_root=True) == "apt install nvidia-cuda-toolkit"


def test_a_small_machine_compiles_fewer_files_at_a_time():
    assert n_jobs("cpu", 4, 8 * 2**30) == 4
    assert n_jobs("cpu", 4, 2 * 2**30) == 2
    assert n_jobs("cuda", 16, 8 * 2**30) == 4
    assert n_jobs("cpu", 4, 2**28) == 1
    assert n_jobs("cpu", 4, None) == 4


def test_the_estimate_counts_cores():
    assert estimate("cpu", 2) == "about 8 minutes on 2 cores"
    assert estimate("cpu", 16) == "about 1 minute on 16 cores"
    assert "several times" in estimate("cuda", 8)
