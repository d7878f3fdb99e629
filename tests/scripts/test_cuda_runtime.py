import pytest

from scripts.setup.cuda_runtime import link, missing, packages


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("cu118", ("nvidia-cuda-runtime-cu11==11.8.*", "nvidia-cublas-cu11==11.*")),
        ("cu124", ("nvidia-cuda-runtime-cu12==12.4.*", "nvidia-cublas-cu12==12.4.*")),
        ("cu130", ("nvidia-cuda-runtime==13.0.*", "nvidia-cublas==13.*")),
    ],
)
def test_the_packages_are_those_of_the_wheels_own_cuda(tag, expected):
    assert packages(tag) == expected


def test_cuda_99_is_on_no_machine():
    assert missing("cu990")


def test_nvidias_libraries_are_linked_beside_the_one_that_needs_them(tmp_path):
    needs = tmp_path / "llama_cpp" / "lib"
    brings = tmp_path / "nvidia" / "cu13" / "lib"
    for folder in (needs, brings):
        folder.mkdir(parents=True)
    (needs / "libggml-cuda.so").touch()
    for name in ("libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libnvblas.so.13"):
        (brings / name).write_text(name)
    assert link(tmp_path) == link(tmp_path) == 3  # a second time is no trouble
    assert (needs / "libcublasLt.so.13").read_text() == "libcublasLt.so.13"
    assert not (needs / "libnvblas.so.13").exists()


def test_a_wheel_without_cuda_gets_no_links(tmp_path):
    assert link(tmp_path) == 0
