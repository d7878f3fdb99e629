"""The CUDA libraries that upstream's CUDA wheels leave out.

The wheels are linked against libcudart and libcublas but do not carry them, and llama_cpp does not
look into NVIDIA's pip packages. Where the system has none, they are installed by pip and linked
beside libggml-cuda.so, whose run path is its own folder.
"""

import sysconfig
from pathlib import Path

from scripts.setup.libraries import loads


def missing(tag: str) -> bool:
    """For "cu124": whether the loader finds what its wheel needs."""
    return not all(loads(f"{name}.so.{_soname(tag)}") for name in ("libcudart", "libcublas"))


def packages(tag: str) -> tuple[str, ...]:
    """From CUDA 13 on NVIDIA's names bear no version, and cuBLAS counts its minors otherwise."""
    major, minor = tag[2:-1], tag[-1]
    if int(major) >= 13:
        return (f"nvidia-cuda-runtime=={major}.{minor}.*", f"nvidia-cublas=={major}.*")
    if int(major) == 11:
        return ("nvidia-cuda-runtime-cu11==11.8.*", "nvidia-cublas-cu11==11.*")
    names = ("nvidia-cuda-runtime", "nvidia-cublas")
    return tuple(f"{name}-cu{major}=={major}.{minor}.*" for name in names)


def link(site_packages: Path | None = None) -> int:
    """How many libraries of NVIDIA's packages lie beside libggml-cuda.so afterwards."""
    site_packages = site_packages or Path(sysconfig.get_path("purelib"))
    beside = {library.parent for library in site_packages.glob("llama_cpp*/**/libggml-cuda*.so*")}
    found = [
        library
        for pattern in ("libcudart.so.*", "libcublas.so.*", "libcublasLt.so.*")
        for library in (site_packages / "nvidia").glob(f"**/{pattern}")
    ]
    for folder in beside:
        for library in found:
            place = folder / library.name
            place.unlink(missing_ok=True)
            place.symlink_to(library)
    return len(found) if beside else 0


def _soname(tag: str) -> str:
    return "11.0" if tag == "cu118" else tag[2:-1]
