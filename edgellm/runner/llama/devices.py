"""Which of ggml's devices a plan means, when the worker looks at them anew.

ggml counts what it sees: once a card is lost, the next one bears its name ("CUDA0"), and what was
planned for the one would be loaded on the other. Where ggml tells PCI addresses (CUDA, ROCm, MUSA,
Vulkan where its driver does), they say who is who. Elsewhere the name has to do.
"""

from collections.abc import Iterable, Iterator, Mapping
from ctypes import CDLL, POINTER, byref, c_char_p, c_size_t, c_void_p
from dataclasses import replace

from msgspec import structs

from edgellm.runner.llama.load import GGML, LoadError, start_llama
from edgellm.runner.loadlog import DeviceMemory
from edgellm.runner.oracle.structs import Properties
from edgellm.selector.plan import Plan


def bound(plan: Plan) -> Plan:
    """With the names that its devices have in this process. Raises LoadError for one that is not
    there. A plan for the CPU asks nobody."""
    if not plan.devices:
        return plan
    start_llama()
    return replace(plan, devices=names_now(plan, Addresses(GGML)))


def names_now(plan: Plan, here: Mapping[str, str | None]) -> tuple[str, ...]:
    """`here`: ggml's devices and their addresses, of which no more are read than it takes. Raises
    LoadError."""
    known = plan.device_addresses or (None,) * len(plan.devices)
    devices = zip(plan.devices, known, strict=True)
    return tuple(_name_now(name, address, here) for name, address in devices)


def _name_now(name: str, address: str | None, here: Mapping[str, str | None]) -> str:
    if address is None or here.get(name) == address:
        return name  # whether there is one of that name, the load will say
    family = _family(name)  # another backend's view of the card is no substitute
    for other in here:
        if _family(other) == family and here[other] == address:
            return other
    raise LoadError("device", f"llama.cpp finds no device at {address}, which was {name!r}")


def _family(name: str) -> str:
    return name.rstrip("0123456789")


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


class Addresses(Mapping[str, str | None]):
    """Of ggml's devices, by their names, in its order. Each is asked only when its address is read:
    CUDA looks up the free memory as well, and for that makes a context on the card, of some hundred
    MiB, for as long as the process lives (ggml-cuda.cu:ggml_backend_cuda_device_get_props). Names
    cost nothing."""

    def __init__(self, ggml: CDLL) -> None:
        ggml.ggml_backend_dev_count.restype = c_size_t
        ggml.ggml_backend_dev_get.restype = c_void_p
        ggml.ggml_backend_dev_get.argtypes = [c_size_t]
        ggml.ggml_backend_dev_name.restype = c_void_p
        ggml.ggml_backend_dev_name.argtypes = [c_void_p]
        ggml.ggml_backend_dev_get_props.argtypes = [c_void_p, POINTER(Properties)]
        self._ggml = ggml
        self._devices: dict[str, int] = {}  # ggml's pointers
        for i in range(ggml.ggml_backend_dev_count()):
            device = ggml.ggml_backend_dev_get(i)
            name = _text(ggml.ggml_backend_dev_name(device))
            if name is not None:
                self._devices.setdefault(name, device)

    def __getitem__(self, name: str) -> str | None:
        said = Properties()
        self._ggml.ggml_backend_dev_get_props(self._devices[name], byref(said))
        return _text(said.device_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._devices)

    def __len__(self) -> int:
        return len(self._devices)


def _text(pointer: int | None) -> str | None:
    if not pointer:
        return None
    data = c_char_p(pointer).value
    return data.decode("utf-8", "replace") if data else None
