"""What a container or a service may use: cgroup v1 and v2, for memory and CPU time.

A limit of any ancestor binds, so all of them are read. Inside a container the path in
/proc/self/cgroup may be the host's and not exist; then the mount's root is our group.

Needs nothing but the standard library: the set-up asks, too, before anything is installed.
"""

from collections.abc import Iterator
from typing import Protocol

from edgellm.values import frozen

_ROOT = "/sys/fs/cgroup"
_NO_LIMIT = 1 << 60  # v1 writes a number near 2^63 where v2 writes "max"


class Files(Protocol):
    """The probe's Evidence, as far as it is asked here."""

    def text(self, path: str) -> str | None: ...
    def number(self, path: str) -> int | None: ...


@frozen
class CgroupLimits:
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None  # of the group that is nearest to its limit
    cpus: float | None = None


def read(files: Files) -> CgroupLimits:
    """The tightest limits of this process's groups; None where there is none."""
    groups = _own_groups(files.text("/proc/self/cgroup"))
    memory = [
        *(_v1_memory(files, f"{_ROOT}/memory{path}") for path in _upwards(groups.get("memory"))),
        *(_v2_memory(files, f"{_ROOT}{path}") for path in _upwards(groups.get(""))),
    ]
    cpus = [
        *(_v1_cpus(files, f"{_ROOT}/cpu{path}") for path in _upwards(groups.get("cpu"))),
        *(_v2_cpus(files, f"{_ROOT}{path}") for path in _upwards(groups.get(""))),
    ]
    limits = [found for found in memory if found is not None]
    quotas = [found for found in cpus if found is not None]
    return CgroupLimits(
        memory_bytes=min((limit for limit, _ in limits), default=None),
        memory_free_bytes=min(
            (max(0, limit - used) for limit, used in limits if used is not None), default=None
        ),
        cpus=min(quotas, default=None),
    )


def _own_groups(text: str | None) -> dict[str, str]:
    """Controller → path; the one hierarchy of v2 has the empty name."""
    groups = {}
    for line in (text or "").splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            for controller in fields[1].split(","):
                groups[controller] = fields[2]
    return groups


def _upwards(path: str | None) -> Iterator[str]:
    """ "/a/b" -> "/a/b", "/a", "" """
    if path is None:
        return
    path = path.rstrip("/")
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def _v2_memory(files: Files, group: str) -> tuple[int, int | None] | None:
    limit = _limit(files.text(f"{group}/memory.max"))
    if limit is None:
        return None
    used = files.number(f"{group}/memory.current")
    return limit, _without_cache(used, files.text(f"{group}/memory.stat"), "inactive_file")


def _v1_memory(files: Files, group: str) -> tuple[int, int | None] | None:
    limit = _limit(files.text(f"{group}/memory.limit_in_bytes"))
    if limit is None:
        return None
    used = files.number(f"{group}/memory.usage_in_bytes")
    stat = files.text(f"{group}/memory.stat")
    return limit, _without_cache(used, stat, "total_inactive_file")


def _without_cache(used: int | None, stat: str | None, name: str) -> int | None:
    """Without inactive page cache, which counts as used but is reclaimed when memory is needed."""
    if used is None:
        return None
    for line in (stat or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return max(0, used - int(value))
    return used


def _v2_cpus(files: Files, group: str) -> float | None:
    quota, _, period = (files.text(f"{group}/cpu.max") or "").partition(" ")  # "150000 100000"
    return _ratio(quota, period)


def _v1_cpus(files: Files, group: str) -> float | None:
    quota = files.text(f"{group}/cpu.cfs_quota_us")  # -1: none
    return _ratio(quota, files.text(f"{group}/cpu.cfs_period_us")) if quota else None


def _ratio(quota: str, period: str | None) -> float | None:
    if not quota.isdecimal() or not period or not period.isdecimal() or int(period) == 0:
        return None
    return int(quota) / int(period)


def _limit(text: str | None) -> int | None:
    if text is None or not text.isdecimal() or int(text) >= _NO_LIMIT:
        return None
    return int(text)
