"""Asks ggml which devices this llama.cpp can use, and writes them as JSON; run as a program.

A child, because a backend loads its driver: that may hang, abort, print, and takes some hundred
MiB of a card's memory while it lives. The libraries are those beside llama_cpp; the package
itself is not imported (it loads numpy and more, 0.2 s), only found.
"""

import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from edgellm.probe import child_output

_TYPES = ("cpu", "gpu", "igpu", "accel", "meta")  # enum ggml_backend_dev_type
_VENDOR_LIBRARIES = (
    "libcudart.", "libcublas.", "libamdhip64.", "librocblas.", "libmusart.", "libascendcl.",
    "libsycl.", "libze_loader.", "libvulkan.", "libOpenCL.",
)  # fmt: skip


class _Properties(ctypes.Structure):
    """ggml_backend_dev_props. Its tail of capabilities has grown, so it has slack."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("slack", ctypes.c_char * 64),
    )


class _Feature(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_char_p))


def survey() -> dict[str, Any]:
    """The JSON of `registry.Registry`, without the complaints, which go to stderr."""
    ggml = _load(_library_folder())
    devices = [_device(ggml, ggml.ggml_backend_dev_get(i)) for i in range(_count(ggml, "dev"))]
    registries = [ggml.ggml_backend_reg_get(i) for i in range(_count(ggml, "reg"))]
    return {
        "devices": devices,
        "registries": [_text(ggml.ggml_backend_reg_name(reg)) for reg in registries],
        "features": {_text(ggml.ggml_backend_reg_name(r)): _features(ggml, r) for r in registries},
        "libraries": _vendor_libraries(),
    }


def _vendor_libraries() -> list[str]:
    """Those of vendors that are loaded by now: "libcudart.so.12.4.127" tells the toolkit."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return []  # not Linux
    names = {Path(line.split(None, 5)[-1]).name for line in maps.splitlines() if "/" in line}
    return sorted(name for name in names if name.startswith(_VENDOR_LIBRARIES))


def _library_folder() -> Path:
    """As llama_cpp itself finds it."""
    if override := os.environ.get("LLAMA_CPP_LIB_PATH"):
        return Path(override)
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        sys.exit("llama-cpp-python is not installed")
    return Path(spec.origin).parent / "lib"


def _load(folder: Path) -> ctypes.CDLL:
    """Its neighbours come along by the loader's own rules ($ORIGIN)."""
    names = ("libggml.so", "libggml.dylib", "ggml.dll", "libggml.dll")
    library = next((folder / name for name in names if (folder / name).exists()), None)
    if library is None:
        sys.exit(f"no ggml library in {folder}")
    ggml = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    for name in ("dev_count", "reg_count"):
        getattr(ggml, f"ggml_backend_{name}").restype = ctypes.c_size_t
    for name in ("dev_get", "reg_get"):
        getattr(ggml, f"ggml_backend_{name}").restype = ctypes.c_void_p
        getattr(ggml, f"ggml_backend_{name}").argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_backend_reg.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_backend_reg.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_dev_get_props.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Properties)]
    ggml.ggml_backend_reg_name.restype = ctypes.c_char_p
    ggml.ggml_backend_reg_name.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_reg_get_proc_address.restype = ctypes.c_void_p
    ggml.ggml_backend_reg_get_proc_address.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    if _count(ggml, "dev") == 0:  # backends built as loadable libraries
        ggml.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
        ggml.ggml_backend_load_all_from_path(os.fsencode(folder))
    return ggml


def _count(ggml: ctypes.CDLL, what: str) -> int:
    return int(getattr(ggml, f"ggml_backend_{what}_count")())


def _device(ggml: ctypes.CDLL, device: int) -> dict[str, Any]:
    said = _Properties()
    ggml.ggml_backend_dev_get_props(device, ctypes.byref(said))
    registry = ggml.ggml_backend_dev_backend_reg(device)
    return {
        "name": _text(said.name),
        "description": _text(said.description),
        "type": _TYPES[said.type] if 0 <= said.type < len(_TYPES) else "meta",
        "free_bytes": said.memory_free,
        "total_bytes": said.memory_total,
        "device_id": _text(said.device_id) or None,
        "registry": _text(ggml.ggml_backend_reg_name(registry)),
    }


def _features(ggml: ctypes.CDLL, registry: int) -> dict[str, str]:
    """What a backend was built for: AVX2 = 1; CUDA's ARCHS = 750,860,890."""
    address = ggml.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_get_features")
    if not address:
        return {}
    get = ctypes.CFUNCTYPE(ctypes.POINTER(_Feature), ctypes.c_void_p)(address)
    features, told = get(registry), {}
    for i in range(256):  # ends with a nameless one
        if not features or not features[i].name:
            break
        told[_text(features[i].name)] = _text(features[i].value)
    return told


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")


if __name__ == "__main__":
    child_output.answer(survey)
