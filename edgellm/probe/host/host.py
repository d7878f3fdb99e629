"""The machine around the accelerators: processor, memory, and what kind of place this is."""

from edgellm.files import BOOT_ID
from edgellm.probe.asked.asking import ask
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import Cpu, MemoryPool
from edgellm.probe.host import cgroup, cpu
from edgellm.probe.vendors import jetson, raspberry
from edgellm.probe.vendors.readings import whole_lines
from edgellm.units import KIB
from edgellm.values import frozen

# "hw" is a whole subtree: cores, caches, memory, and hw.optional's instruction sets.
SYSCTL = (
    "sysctl", "hw", "machdep.cpu.brand_string", "kern.bootsessionuuid", "iogpu.wired_limit_mb",
)  # fmt: skip
VM_STAT = ("vm_stat",)

TIMEOUT_S = 2.0
_CONTAINER_WORDS = ("docker", "kubepods", "containerd", "libpod", "lxc")


@frozen
class Host:
    cpu: Cpu
    pool: MemoryPool
    cgroup_limit_bytes: int | None = None
    in_wsl: bool = False
    in_container: bool = False
    boot_id: str | None = None
    power_mode: str | None = None
    alarms: tuple[str, ...] = ()
    is_bandwidth_low: bool = False  # it was measured beside other programs


def read(evidence: Evidence) -> Host:
    return _read_darwin(evidence) if evidence.system == "Darwin" else _read_linux(evidence)


def unknown_host() -> Host:
    """Where even these sources hang: one core, and no memory that a plan could use."""
    return Host(Cpu("CPU", 1, 1, ()), MemoryPool("host", "host", 0, None))


def _read_linux(evidence: Evidence) -> Host:
    limits = cgroup.read(evidence)
    kernel = evidence.text("/proc/version") or ""
    return Host(
        cpu=cpu.read_linux(evidence, limits.cpus),
        pool=linux_memory(evidence, limits),
        cgroup_limit_bytes=limits.memory_bytes,
        in_wsl="microsoft" in kernel.lower(),
        in_container=_in_container(evidence),
        boot_id=evidence.text(BOOT_ID),
        power_mode=jetson.power_mode(evidence),
        alarms=raspberry.alarms(evidence),
    )


def linux_memory(evidence: Evidence, limits: cgroup.CgroupLimits) -> MemoryPool:
    """Total and free are each the smaller of the machine's and the cgroup's."""
    kib = {}
    for line in (evidence.text("/proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()
        if value and value[0].isdecimal():
            kib[name] = int(value[0])
    if "MemTotal" not in kib:
        evidence.fault("/proc/meminfo", "does not say MemTotal")
    machine = kib.get("MemTotal", 0) * KIB
    total = min(machine, limits.memory_bytes or machine)
    told = (kib["MemAvailable"] * KIB if "MemAvailable" in kib else None, limits.memory_free_bytes)
    free = min((n_bytes for n_bytes in told if n_bytes is not None), default=None)
    if free is not None and total:  # a container may read its limit and not what it uses of it
        free = min(free, total)
    return MemoryPool("host", "host", total, free)


def _in_container(evidence: Evidence) -> bool:
    if evidence.list("/.dockerenv") or evidence.list("/run/.containerenv"):
        return True
    groups = evidence.text("/proc/1/cgroup") or ""
    return any(word in groups for word in _CONTAINER_WORDS)


def _read_darwin(evidence: Evidence) -> Host:
    asking = ask(lambda: _darwin_free_bytes(evidence))
    told = sysctl(evidence)
    if not told.get("hw.memsize", "").isdecimal():
        evidence.fault("sysctl", "does not say hw.memsize")
        total = 0
    else:
        total = int(told["hw.memsize"])
    return Host(
        cpu=cpu.read_darwin(told),
        pool=MemoryPool("host", "host", total, asking.result()),
        boot_id=told.get("kern.bootsessionuuid"),
    )


def sysctl(evidence: Evidence) -> dict[str, str]:
    """sysctl's values by name. It exits with 1 where this Mac lacks one of the names."""
    output = evidence.run(SYSCTL, TIMEOUT_S)
    return named(output.text) if output else {}


def named(text: str) -> dict[str, str]:
    """sysctl's output, "name: value" a line, as a dictionary."""
    pairs = (line.partition(":") for line in whole_lines(text))
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def _darwin_free_bytes(evidence: Evidence) -> int | None:
    """Pages that are free, or that the system reclaims without swapping."""
    output = evidence.run(VM_STAT, TIMEOUT_S)
    if output is None:
        return None
    head, _, lines = output.text.partition("\n")
    page = next((int(word) for word in head.split() if word.isdecimal()), None)
    pages = {}
    for line in whole_lines(lines):
        name, _, value = line.partition(":")
        if value.strip().rstrip(".").isdecimal():
            pages[name.strip('" ')] = int(value.strip().rstrip("."))
    kinds = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")
    if page is None or "Pages free" not in pages:
        evidence.fault("vm_stat", f"not understood: {head[:60]!r}")
        return None
    return page * sum(pages.get(kind, 0) for kind in kinds)
