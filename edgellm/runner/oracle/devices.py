"""Devices that exist on paper only: structs that llama.cpp takes for ggml backends.

They have a name, a memory size and a backend's rules, and never compute: with `no_alloc` llama.cpp
loads a header, builds its graphs, reserves for them, and asks no more. Nothing is allocated.

ctypes frees a callback that nobody holds, so every one of them lives as long as its device.
"""

import ctypes
from collections.abc import Sequence
from ctypes import CDLL, c_void_p
from typing import Any

from edgellm.runner.oracle.messages import DescribedDevice
from edgellm.runner.oracle.rules import Rules
from edgellm.runner.oracle.structs import (
    Allocate,
    Backend,
    BufferInterface,
    BufferType,
    Clear,
    Device,
    DeviceInterface,
    Flag,
    FlagOf,
    Indexed,
    Kind,
    Memory,
    Name,
    Nothing,
    Pointer,
    PointerOf,
    Registry,
    Size,
    SizeOf,
    address,
)

_GPU = 1  # GGML_BACKEND_DEVICE_TYPE_GPU
_NOWHERE = 1 << 40  # the address of buffers that don't exist; aligned, and never touched


class VirtualDevice:
    """`ptr` goes into llama_model_params.devices; `buffer_type_ptr` is where its tensors lie."""

    def __init__(
        self,
        base: CDLL,
        always: Any,
        name: str,
        described: DescribedDevice,
        norms: range | None = None,
    ) -> None:
        self._base, self._always = base, always
        self._rules = Rules(described.backend, base, norms)
        self._total_bytes, self._free_bytes = described.total_bytes, described.free_bytes
        self._name = ctypes.create_string_buffer(name.encode())
        self._host_name = ctypes.create_string_buffer(f"{name}_Host".encode())
        self._device, self._registry = Device(), Registry()
        self._backend = Backend()
        self._buffers = _empty_buffers()
        self._buffer_type = self._make_buffer_type(self._name, is_host=False)
        self._host_type = self._make_buffer_type(self._host_name, is_host=True)
        self._fill_backend()
        self._fill_device()
        self._fill_registry()

    @property
    def ptr(self) -> int:
        return address(self._device)

    @property
    def buffer_type_ptr(self) -> int:
        return address(self._buffer_type)

    def _make_buffer_type(
        self, name: "ctypes.Array[ctypes.c_char]", *, is_host: bool
    ) -> BufferType:
        told = BufferType()
        own = self._rules
        told.device = self.ptr
        told.iface.get_name = Name(lambda _: address(name))
        told.iface.alloc_buffer = Allocate(self._allocate)
        told.iface.get_alignment = Size(lambda _: 32 if is_host else own.alignment)
        told.iface.get_max_size = Size(lambda _: own.max_bytes)
        told.iface.is_host = Flag(lambda _: is_host)
        if own.pads and not is_host:
            told.iface.get_alloc_size = SizeOf(lambda _, tensor: own.alloc_bytes(tensor))
        return told

    def _allocate(self, buffer_type: int, size: int) -> int | None:
        made: int | None = self._base.ggml_backend_buffer_init(
            buffer_type, self._buffers, None, size
        )
        return made

    def _fill_backend(self) -> None:
        self._backend.iface.get_name = Name(lambda _: address(self._name))
        self._backend.iface.free = Nothing(lambda _: None)
        self._backend.device = self.ptr

    def _fill_device(self) -> None:
        iface, own, name = self._device.iface, self._rules, address(self._name)
        ours = {address(self._buffer_type)}
        iface.get_name = iface.get_description = Name(lambda _: name)
        iface.get_type = Kind(lambda _: _GPU)
        iface.get_memory = Memory(self._tell_memory)
        iface.get_props = _Props(self._tell_properties)
        iface.init_backend = PointerOf(lambda _, params: address(self._backend))
        iface.get_buffer_type = Pointer(lambda _: address(self._buffer_type))
        if own.pinned_host:
            iface.get_host_buffer_type = Pointer(lambda _: address(self._host_type))
        iface.supports_buft = FlagOf(lambda _, buffer_type: buffer_type in ours)
        if own.offloads_any:
            iface.offload_op = FlagOf(lambda _, tensor: own.offloads(tensor))
        if own.refuses:
            iface.supports_op = FlagOf(lambda _, tensor: own.supports(tensor))
        else:
            iface.supports_op = ctypes.cast(self._always, FlagOf)
        self._device.reg = address(self._registry)

    def _fill_registry(self) -> None:
        self._registry.api_version = 2
        self._registry.iface.get_name = Name(lambda _: address(self._name))
        self._registry.iface.get_device_count = Size(lambda _: 1)
        self._registry.iface.get_device = Indexed(lambda _, number: self.ptr)

    def _tell_memory(self, _: int, free: Any, total: Any) -> None:
        free[0], total[0] = self._free_bytes, self._total_bytes

    def _tell_properties(self, _: int, properties: Any) -> None:
        told, own = properties[0], self._rules
        told.name = told.description = address(self._name)
        told.memory_free, told.memory_total = self._free_bytes, self._total_bytes
        told.type = _GPU
        told.caps.is_async = told.caps.events = own.is_pipelined
        told.caps.host_buffer = own.pinned_host
        told.caps.mmap_support = True


_Props = dict(DeviceInterface._fields_)["get_props"]


def _empty_buffers() -> BufferInterface:
    told = BufferInterface()
    told.free_buffer = Nothing(lambda _: None)
    told.get_base = Pointer(lambda _: _NOWHERE)
    told.clear = Clear(lambda _, value: None)
    return told


class VirtualHost:
    """The CPU's own memory as if there were any amount: a recurrent state would really be allocated
    there, and cleared, in spite of `no_alloc` (src/llama-memory-recurrent.cpp)."""

    def __init__(self, base: CDLL, buffer_type_ptr: int) -> None:
        self._buffers = _empty_buffers()
        self._allocate = Allocate(
            lambda buffer_type, size: base.ggml_backend_buffer_init(
                buffer_type, self._buffers, None, size
            )
        )
        BufferType.from_address(buffer_type_ptr).iface.alloc_buffer = self._allocate


def pointers(devices: "Sequence[VirtualDevice]") -> Any:
    """NULL-terminated, as llama.cpp wants it; none at all keeps real devices out too."""
    return (c_void_p * (len(devices) + 1))(*(device.ptr for device in devices), None)
