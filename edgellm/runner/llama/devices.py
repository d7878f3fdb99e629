"""Which of ggml's devices a plan means, when the worker looks at them anew.

ggml counts what it sees: once a card is lost, the next one bears its name ("CUDA0"), and what was
planned for the one would be loaded on the other. Where ggml tells PCI addresses (CUDA, ROCm, MUSA,
Vulkan where its driver does), they say who is who. Elsewhere the name has to do.
"""

from collections.abc import Iterable, Mapping
from ctypes import CDLL, POINTER, byref, c_char_p, c_size_t, c_void_p
from dataclasses import replace

import llama_cpp
from llama_cpp._ggml import libggml
from msgspec import structs

from edgellm.runner.llama.load import LoadError
from edgellm.runner.loadlog import DeviceMemory
from edgellm.runner.oracle.structs import Properties
from edgellm.selector.plan import Plan


def bound(plan: Plan) -> Plan:
    """With the names that its devices have in this process. Raises LoadError for one that is not
    there. A plan for the CPU asks nobody."""
    if not plan.devices:
        return plan
    llama_cpp.llama_backend_init()
    return replace(plan, devices=names_now(plan, addresses(libggml)))


def names_now(plan: Plan, here: Mapping[str, str | None]) -> tuple[str, ...]:
    """`here`: ggml's devices and their addresses. Raises LoadError."""
    known = plan.device_addresses or (None,) * len(plan.devices)
    return tuple(map(_name_now, plan.devices, known, [here] * len(known)))


def _name_now(name: str, address: str | None, here: Mapping[str, str | None]) -> str:
    if address is None or here.get(name) == address:
        return name  # whether there is one of that name, the load will say
    family = name.rstrip("0123456789")  # another backend's view of the card is no substitute
    for other, seen in here.items():
        if seen == address and other.rstrip("0123456789") == family:
            return other
    raise LoadError("device", f"llama.cpp finds no device at {address}, which was {name!r}")


def as_planned(
    memory: Iterable[DeviceMemory], planned: Plan, loaded: Plan
) -> tuple[DeviceMemory, ...]:
    """What each device took, under the name that the plan gave it: the gateway knows no other."""
    names = dict(zip(loaded.devices, planned.devices, strict=True))
    return tuple(structs.replace(one, name=_planned_name(one.name, names)) for one in memory)


def _planned_name(buffer: str, names: Mapping[str, str]) -> str:
    """ "CUDA0_Split" is CUDA0's; "CUDA_Host" is nobody's."""
    name, mark, rest = buffer.partition("_")
    return names.get(name, name) + mark + rest


def addresses(ggml: CDLL) -> dict[str, str | None]:
    """By ggml's names, in its order."""
    ggml.ggml_backend_dev_count.restype = c_size_t
    ggml.ggml_backend_dev_get.restype = c_void_p
    ggml.ggml_backend_dev_get.argtypes = [c_size_t]
    ggml.ggml_backend_dev_get_props.argtypes = [c_void_p, POINTER(Properties)]
    found: dict[str, str | None] = {}
    for i in range(ggml.ggml_backend_dev_count()):
        said = Properties()
        ggml.ggml_backend_dev_get_props(ggml.ggml_backend_dev_get(i), byref(said))
        name = _text(said.name)
        if name is not None:
            found.setdefault(name, _text(said.device_id))
    return found


def _text(pointer: int | None) -> str | None:
    if not pointer:
        return None
    data = c_char_p(pointer).value
    return data.decode("utf-8", "replace") if data else None
