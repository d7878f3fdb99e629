"""ggml's backend structs, as C lays them out: what a device must answer to llama.cpp.

Source: ggml/src/ggml-backend-impl.h and ggml.h `struct ggml_tensor`, API version 2. They are not a
public interface, so `knows_layout` is asked before any of them is handed over: a build that we
have not read is not trusted.
"""

import ctypes
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_uint8,
    c_void_p,
)
from typing import Any, Final

_API_VERSION: Final = 2  # GGML_BACKEND_API_VERSION
_GGML_VERSIONS: Final = (b"0.25.",)  # ggml_version(): those whose headers were read

# Callbacks, by what goes in: a type's pointer, a device's, a tensor's.
Name: Final[Any] = CFUNCTYPE(c_void_p, c_void_p)
Pointer: Final[Any] = CFUNCTYPE(c_void_p, c_void_p)
PointerOf: Final[Any] = CFUNCTYPE(c_void_p, c_void_p, c_void_p)
Size: Final[Any] = CFUNCTYPE(c_size_t, c_void_p)
SizeOf: Final[Any] = CFUNCTYPE(c_size_t, c_void_p, c_void_p)
Kind: Final[Any] = CFUNCTYPE(c_int, c_void_p)
Flag: Final[Any] = CFUNCTYPE(c_bool, c_void_p)
FlagOf: Final[Any] = CFUNCTYPE(c_bool, c_void_p, c_void_p)
Nothing: Final[Any] = CFUNCTYPE(None, c_void_p)
Memory: Final[Any] = CFUNCTYPE(None, c_void_p, POINTER(c_size_t), POINTER(c_size_t))
Clear: Final[Any] = CFUNCTYPE(None, c_void_p, c_uint8)
Allocate: Final[Any] = CFUNCTYPE(c_void_p, c_void_p, c_size_t)
Indexed: Final[Any] = CFUNCTYPE(c_void_p, c_void_p, c_size_t)


class BufferTypeInterface(Structure):
    _fields_ = (
        ("get_name", Name),
        ("alloc_buffer", Allocate),
        ("get_alignment", Size),
        ("get_max_size", Size),
        ("get_alloc_size", SizeOf),
        ("is_host", Flag),
    )


class BufferType(Structure):
    _fields_ = (("iface", BufferTypeInterface), ("device", c_void_p), ("context", c_void_p))


class BufferInterface(Structure):
    _fields_ = (
        ("free_buffer", Nothing),
        ("get_base", Pointer),
        ("init_tensor", c_void_p),
        ("memset_tensor", c_void_p),
        ("set_tensor", c_void_p),
        ("get_tensor", c_void_p),
        ("set_tensor_2d", c_void_p),
        ("get_tensor_2d", c_void_p),
        ("cpy_tensor", c_void_p),
        ("clear", Clear),
        ("reset", c_void_p),
    )


class BackendInterface(Structure):
    """A backend that computes nothing needs only a name and an end."""

    _fields_ = (
        ("get_name", Name),
        ("free", Nothing),
        *((name, c_void_p) for name in (
            "set_tensor_async", "get_tensor_async", "set_tensor_2d_async", "get_tensor_2d_async",
            "cpy_tensor_async", "synchronize", "graph_plan_create", "graph_plan_free",
            "graph_plan_update", "graph_plan_compute", "graph_compute", "event_record",
            "event_wait", "graph_optimize",
        )),
    )  # fmt: skip


class Backend(Structure):
    _fields_ = (
        ("guid", c_void_p),
        ("iface", BackendInterface),
        ("device", c_void_p),
        ("context", c_void_p),
    )


class Capabilities(Structure):
    _fields_ = tuple(
        (name, c_bool)
        for name in ("is_async", "host_buffer", "buffer_from_host_ptr", "events", "mmap_support")
    )


class Properties(Structure):
    _fields_ = (
        ("name", c_void_p),
        ("description", c_void_p),
        ("memory_free", c_size_t),
        ("memory_total", c_size_t),
        ("type", c_int),
        ("device_id", c_void_p),
        ("caps", Capabilities),
    )


class DeviceInterface(Structure):
    _fields_ = (
        ("get_name", Name),
        ("get_description", Name),
        ("get_memory", Memory),
        ("get_type", Kind),
        ("get_props", CFUNCTYPE(None, c_void_p, POINTER(Properties))),
        ("init_backend", PointerOf),
        ("get_buffer_type", Pointer),
        ("get_host_buffer_type", Pointer),
        ("buffer_from_host_ptr", c_void_p),
        ("supports_op", FlagOf),
        ("supports_buft", FlagOf),
        ("offload_op", FlagOf),
        ("event_new", c_void_p),
        ("event_free", c_void_p),
        ("event_synchronize", c_void_p),
    )


class Device(Structure):
    _fields_ = (("iface", DeviceInterface), ("reg", c_void_p), ("context", c_void_p))


class RegistryInterface(Structure):
    _fields_ = (
        ("get_name", Name),
        ("get_device_count", Size),
        ("get_device", Indexed),
        ("get_proc_address", c_void_p),
    )


class Registry(Structure):
    _fields_ = (("api_version", c_int), ("iface", RegistryInterface), ("context", c_void_p))


class Tensor(Structure):
    _fields_ = (
        ("type", c_int),
        ("buffer", c_void_p),
        ("ne", c_int64 * 4),
        ("nb", c_size_t * 4),
        ("op", c_int),
        ("op_params", c_int * 16),
        ("flags", c_int),
        ("src", c_void_p * 10),
        ("view_src", c_void_p),
        ("view_offs", c_size_t),
        ("data", c_void_p),
        ("name", c_char * 64),
    )


def knows_layout(base: CDLL, ggml: CDLL) -> bool:
    """Whether the loaded ggml is one whose headers stand above."""
    base.ggml_version.restype = c_char_p
    version: bytes = base.ggml_version()
    ggml.ggml_backend_reg_by_name.restype = c_void_p
    ggml.ggml_backend_reg_by_name.argtypes = [c_char_p]
    address = ggml.ggml_backend_reg_by_name(b"CPU")
    if not address or not version.startswith(_GGML_VERSIONS):
        return False
    return bool(Registry.from_address(address).api_version == _API_VERSION)


def declare(base: CDLL) -> None:
    """The C functions that virtual devices call, with their types."""
    base.ggml_backend_buffer_init.restype = c_void_p
    base.ggml_backend_buffer_init.argtypes = [c_void_p, BufferInterface, c_void_p, c_size_t]
    base.ggml_nbytes.restype, base.ggml_nbytes.argtypes = c_size_t, [c_void_p]
    base.ggml_row_size.restype, base.ggml_row_size.argtypes = c_size_t, [c_int, c_int64]
    base.ggml_is_quantized.restype, base.ggml_is_quantized.argtypes = c_bool, [c_int]
    base.ggml_op_name.restype, base.ggml_op_name.argtypes = c_char_p, [c_int]
    base.ggml_backend_cpu_buffer_type.restype = c_void_p


def address(kept: Any) -> int:
    return ctypes.addressof(kept)
