"""How many compilers find room here: cores and memory, of the machine or of its container."""

import math
import os
import re
from dataclasses import dataclass

from edgellm.meter.readers import sysfs
from edgellm.probe.host import cgroup
from edgellm.probe.sources import Sources

_NO_GROUP = cgroup.CgroupLimits()


@dataclass(frozen=True, slots=True)
class Room:
    n_cores: int
    free_bytes: int | None  # None: nobody tells


@dataclass(frozen=True, slots=True)
class _Files:
    sources: Sources

    def text(self, path: str) -> str | None:
        return sysfs.text(self.sources, path)

    def number(self, path: str) -> int | None:
        return sysfs.number(self.sources, path)


def look(sources: Sources, n_cores: int | None = None) -> Room:
    """`n_cores`: that this process may run on, when not the system is to be asked."""
    n_cores = n_cores or _n_cores()
    limits = cgroup.read(_Files(sources)) if sources.system == "Linux" else _NO_GROUP
    bounds = (_available_bytes(sources), limits.memory_free_bytes)
    return Room(
        n_cores=max(1, min(n_cores, math.ceil(limits.cpus or n_cores))),
        free_bytes=min((n for n in bounds if n is not None), default=None),
    )


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _available_bytes(sources: Sources) -> int | None:
    said = sysfs.text(sources, "/proc/meminfo") or ""
    told = re.search(r"^MemAvailable:\s+(\d+) kB", said, re.M)
    return int(told[1]) * 1024 if told else None
