"""Which cores are near which memory, and which cores are fast.

Hybrid processors mix cores of two speeds. llama.cpp's threads wait for the slowest one, so the
number of threads depends on how many cores are fast.
"""

from collections.abc import Iterable

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import NumaNode
from edgellm.probe.host.numbers import parse_list
from edgellm.units import KIB

_NODES = "/sys/devices/system/node"


def nodes(evidence: Evidence) -> tuple[NumaNode, ...]:
    """All of them, one on most machines; none where the kernel was built without."""
    found = []
    for folder in evidence.list(f"{_NODES}/node[0-9]*"):
        name = folder.rpartition("/node")[2]
        cpus = parse_list(evidence.text(f"{folder}/cpulist"))
        distances = (evidence.text(f"{folder}/distance") or "").split()
        if name.isdecimal():
            found.append(
                NumaNode(
                    id=int(name),
                    n_logical_cores=len(cpus or ()),
                    total_bytes=_total_bytes(evidence.text(f"{folder}/meminfo")),
                    distances=tuple(int(d) for d in distances if d.isdecimal()),
                )
            )
    return tuple(sorted(found, key=lambda node: node.id))


def _total_bytes(meminfo: str | None) -> int | None:
    """ "Node 0 MemTotal:       7039192 kB" """
    for line in (meminfo or "").splitlines():
        words = line.split()
        if len(words) >= 4 and words[2] == "MemTotal:" and words[3].isdecimal():
            return int(words[3]) * KIB
    return None


def fast_cpus(evidence: Evidence, cpus: Iterable[int]) -> frozenset[int] | None:
    """Of `cpus`, the logical ones on fast cores; None when all are alike or nobody tells.

    Intel names its two kinds in sysfs (performance-monitoring units cpu_core and cpu_atom); Arm
    kernels tell each CPU's capacity, 1024 being the fastest. Middle cores of a phone with three
    kinds count as fast when they reach three quarters of that.
    """
    usable = frozenset(cpus)
    if evidence.list("/sys/devices/cpu_atom"):
        core = parse_list(evidence.text("/sys/devices/cpu_core/cpus"))
        return _unless_all(usable, (core or frozenset()) & usable)
    if not evidence.list("/sys/devices/system/cpu/cpu0/cpu_capacity"):
        return None
    capacity = {
        n: evidence.number(f"/sys/devices/system/cpu/cpu{n}/cpu_capacity") or 0 for n in usable
    }
    most = max(capacity.values(), default=0)
    return _unless_all(usable, frozenset(n for n, c in capacity.items() if c >= 0.75 * most))


def _unless_all(usable: frozenset[int], fast: frozenset[int]) -> frozenset[int] | None:
    return fast if fast and fast != usable else None
