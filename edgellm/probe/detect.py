"""Asks all sources in parallel and joins their answers into one Hardware.

No source can make this fail: each has a time limit, and what it doesn't tell is missing. A new
vendor is one reader file and one row in VENDORS.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from typing import TypeVar

from edgellm.probe import merge, pci, pci_cards, registry
from edgellm.probe.asked import hangs
from edgellm.probe.asked.asking import ask
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import Device, Hardware, MemoryPool
from edgellm.probe.host import bandwidth, host
from edgellm.probe.known import catalog
from edgellm.probe.sources import Sources
from edgellm.probe.vendors import (
    amd,
    apple,
    biren,
    cambricon,
    huawei,
    hygon,
    iluvatar,
    intel,
    metax,
    moorethreads,
    nvidia,
    qualcomm,
    readings,
    thead,
)
from edgellm.probe.vendors.cards import Card
from edgellm.probe.vendors.readings import Reading

T = TypeVar("T")

# Called with the sources that are still waited for: name, and seconds left at most. Once for the
# vendors' sources, and once for llama.cpp, if that takes longer than they do.
Waiting = Callable[[tuple[tuple[str, float], ...]], None]

_Row = tuple[str, Callable[[Evidence], tuple[Card, ...]], float]

_TOOL_S = readings.TIMEOUT_S + 1.0


def _by_tool(
    name: str, read: Callable[[Evidence], tuple[Reading, ...]], tool_s: float = _TOOL_S
) -> _Row:
    return name, lambda evidence: readings.cards(name, read(evidence)), tool_s


# Name, reader, and how many seconds its answer may take.
VENDORS: tuple[_Row, ...] = (
    ("nvidia", nvidia.read, nvidia.TIMEOUT_S + 1.0),
    ("amdgpu", amd.read, 3.0),
    ("intel", intel.read, 4.0),
    ("apple", apple.read, 3.0),
    ("qualcomm", qualcomm.read, 3.0),
    ("huawei", huawei.read, _TOOL_S),
    _by_tool("moorethreads", moorethreads.readings, _TOOL_S + moorethreads.LIBRARY_TIMEOUT_S),
    _by_tool("hygon", hygon.readings),
    _by_tool("cambricon", cambricon.readings),
    _by_tool("iluvatar", iluvatar.readings),
    _by_tool("metax", metax.readings),
    _by_tool("biren", biren.readings),
    _by_tool("thead", thead.readings),
)
_LOW_BANDWIDTH = "its memory's bandwidth was measured beside other programs and may be higher"
_FILES_S = 5.0  # for files, which the kernel answers at once or never
_HOST_S = 30.0  # without its memory there is no plan: a machine that is starved gets its time
# For so long llama.cpp's own look at the cards waits for the vendors' sources: it takes some of the
# memory that they read as free. A slower source counts that memory as taken.
_BEFORE_GGML_S = 1.5
_SOON_S = 1.5  # a wait that is not worth a word to the user


def _ignore(waits: tuple[tuple[str, float], ...]) -> None:
    pass


def detect(
    sources: Sources | None = None,
    *,
    measure_bandwidth: bool = True,
    waiting: Waiting = _ignore,
) -> Hardware:
    """The first call after a boot measures the memory's bandwidth, for about a second."""
    evidence = Evidence(sources or hangs.this_machine())
    return examine(evidence, measure_bandwidth=measure_bandwidth, waiting=waiting)


def examine(
    evidence: Evidence, *, measure_bandwidth: bool = True, waiting: Waiting = _ignore
) -> Hardware:
    """As `detect`; afterwards `evidence` has every source's answer."""
    asked_s = time.monotonic()
    asking_host = ask(lambda: host.read(evidence))
    asking_pci = ask(lambda: pci.scan(evidence))
    asking = [(name, ask(partial(read, evidence)), s) for name, read, s in VENDORS]

    def answer(name: str, future: "Future[T]", limit_s: float, otherwise: T) -> T:
        left_s = max(0.0, asked_s + limit_s - time.monotonic())
        return _answer(evidence, name, future, left_s, otherwise)

    wait([future for _, future, _ in asking], _BEFORE_GGML_S)
    asking_ggml, ggml_asked_s = ask(lambda: registry.read(evidence)), time.monotonic()
    now_s = ggml_asked_s - asked_s
    waits = tuple((name, s - now_s) for name, future, s in asking if not future.done())
    if waits:
        waiting(waits)
    machine = answer("host", asking_host, _HOST_S, host.unknown_host())
    if measure_bandwidth:  # beside it: it waits for drivers, and this for memory
        cores = machine.cpu.n_physical_cores
        measured = bandwidth.measure(evidence, machine.pool, cores, machine.boot_id)
        rate = measured.bytes_s if measured else None
        is_low = measured is not None and measured.busy
        pool = replace(machine.pool, bandwidth_bytes_s=rate)
        machine = replace(machine, pool=pool, is_bandwidth_low=is_low)
    cards = [card for name, future, s in asking for card in answer(name, future, s, ())]
    on_pci = answer("pci", asking_pci, _FILES_S, ())
    cards = pci_cards.with_pci(cards, on_pci)
    if cards:
        catalog.load()  # some 30 ms, which the waiting hides
    wait([asking_ggml], max(0.0, ggml_asked_s + _SOON_S - time.monotonic()))
    if not asking_ggml.done():
        waiting((("llama.cpp", max(0.0, ggml_asked_s + registry.TIMEOUT_S - time.monotonic())),))
    ggml = _answer(evidence, "ggml", asking_ggml, registry.TIMEOUT_S + 1.0, None)
    return _join(evidence, machine, cards, ggml)


def _join(
    evidence: Evidence,
    machine: host.Host,
    cards: list[Card],
    ggml: registry.Registry | None,
) -> Hardware:
    pairs, notes = merge.pair(cards, ggml)
    known = catalog.load() if pairs else catalog.Catalog()
    for note in notes:
        evidence.fault("ggml", note)
    placed = [merge.place(pair, ggml, machine.pool, known) for pair in pairs]
    pool = merge.unify(machine.pool, placed)
    is_measured = pool.bandwidth_bytes_s == machine.pool.bandwidth_bytes_s
    cpu = Device(
        "cpu", "cpu", machine.cpu.name, "cpu", pool.id,
        ggml_name="CPU" if ggml else None,
        note=_LOW_BANDWIDTH if machine.is_bandwidth_low and is_measured else None,
    )  # fmt: skip
    own: tuple[MemoryPool, ...] = tuple(p.own_pool for p in placed if p.own_pool)
    devices = (*(p.device for p in placed), cpu)
    return Hardware(
        devices=devices,
        pools=(*own, pool),
        cpu=machine.cpu,
        system=evidence.system,
        cgroup_limit_bytes=machine.cgroup_limit_bytes,
        in_wsl=machine.in_wsl,
        in_container=machine.in_container,
        ggml_features=ggml.cpu_features if ggml else (),
        ggml_registries=ggml.registries if ggml else (),
        ggml_libraries=ggml.libraries if ggml else (),
        ggml_complaints=ggml.complaints if ggml else (),
        peers=merge.peer_links(cards, devices),
        power_mode=machine.power_mode,
        alarms=machine.alarms,
        faults=evidence.faults,
    )


def _answer(evidence: Evidence, name: str, future: "Future[T]", limit_s: float, otherwise: T) -> T:
    try:
        return future.result(timeout=limit_s)
    except TimeoutError:
        evidence.fault(name, f"no answer within {limit_s:.0f} s")
    except Exception as error:  # noqa: BLE001 - a reader's bug costs its fields, no more
        evidence.fault(name, f"the reader failed: {type(error).__name__}: {error}")
    return otherwise
