"""The processor, as /proc/cpuinfo, sysfs or sysctl tell it.

Only instruction sets that llama.cpp has kernels for are named (ggml_cpu_has_* in ggml-cpu.h),
in the kernel's words for x86 and in Arm's marketing words for Arm.
"""

import math
from collections.abc import Iterator, Mapping

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import Cpu
from edgellm.probe.host import arm_parts, dimms, numa
from edgellm.probe.host.numbers import parse_list
from edgellm.units import KIB, MIB

# cpuinfo's word (x86 "flags", Arm "Features") → ours
_ISA = {
    "pni": "sse3", "ssse3": "ssse3", "sse4_2": "sse4_2", "avx": "avx", "f16c": "f16c",
    "fma": "fma", "bmi2": "bmi2", "avx2": "avx2", "avx_vnni": "avx_vnni",
    "avx512f": "avx512f", "avx512vbmi": "avx512_vbmi", "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16", "amx_tile": "amx_tile", "amx_int8": "amx_int8",
    "asimd": "neon", "neon": "neon", "asimdhp": "fp16", "asimddp": "dotprod", "i8mm": "i8mm",
    "sve": "sve", "sve2": "sve2", "sme": "sme", "sme2": "sme2",
    "altivec": "vsx", "vx": "vxe", "lasx": "lasx", "lsx": "lsx",
}  # fmt: skip

# sysctl's hw.optional.* → ours
_DARWIN_ISA = {
    "neon": "neon", "AdvSIMD": "neon", "arm.FEAT_FP16": "fp16", "neon_fp16": "fp16",
    "arm.FEAT_DotProd": "dotprod", "arm.FEAT_I8MM": "i8mm", "arm.FEAT_SME": "sme",
    "arm.FEAT_SME2": "sme2", "avx1_0": "avx", "avx2_0": "avx2", "f16c": "f16c", "fma": "fma",
    "bmi2": "bmi2", "avx512f": "avx512f",
}  # fmt: skip


def read_linux(evidence: Evidence, quota_cores: float | None) -> Cpu:
    """From /proc/cpuinfo and sysfs. `quota_cores`: what a cgroup allows; None: no limit."""
    processors = _processors(evidence.text("/proc/cpuinfo") or "")
    if not processors:
        evidence.fault("/proc/cpuinfo", "names no processor")
    allowed = _allowed(evidence)
    usable = [p for n, p in processors.items() if allowed is None or n in allowed] or [{}]
    n_physical = _n_physical(evidence, usable)
    n_cores = max(1, min(n_physical, math.ceil(quota_cores or n_physical)))
    n_fast = min(_n_fast(evidence, usable) or n_cores, n_cores)
    first = usable[0]
    level = _cache_bytes(evidence)
    nodes = numa.nodes(evidence)
    return Cpu(
        name=_name(evidence, first),
        n_physical_cores=n_cores,
        n_logical_cores=len(usable),
        isa=_isa(first),
        n_numa_nodes=len(nodes) or None,
        l2_bytes=level.get(2),
        l3_bytes=level.get(3),
        quota_cores=quota_cores,
        n_fast_cores=n_fast if n_fast < n_cores else None,
        numa=nodes,
        dimms=dimms.read(evidence),
    )


def _n_fast(evidence: Evidence, usable: list[dict[str, str]]) -> int | None:
    """Physical cores of the fast kind."""
    numbers = {int(p["processor"]): p for p in usable if "processor" in p}
    fast = numa.fast_cpus(evidence, numbers)
    return None if fast is None else _n_physical(evidence, [numbers[n] for n in fast])


def read_darwin(told: Mapping[str, str]) -> Cpu:
    """From `sysctl`'s names and values."""

    def number(*names: str) -> int | None:
        return next((int(told[n]) for n in names if told.get(n, "").isdecimal()), None)

    isa = (ours for name, ours in _DARWIN_ISA.items() if told.get(f"hw.optional.{name}") == "1")
    n_logical = number("hw.logicalcpu", "hw.ncpu") or 1
    has_slow_ones = (number("hw.perflevel1.physicalcpu") or 0) > 0
    return Cpu(
        name=told.get("machdep.cpu.brand_string") or told.get("hw.model") or "CPU",
        n_physical_cores=number("hw.physicalcpu") or n_logical,
        n_logical_cores=n_logical,
        isa=tuple(dict.fromkeys(isa)),
        l2_bytes=number("hw.perflevel0.l2cachesize", "hw.l2cachesize"),
        l3_bytes=number("hw.l3cachesize"),
        n_fast_cores=number("hw.perflevel0.physicalcpu") if has_slow_ones else None,
    )


def _processors(cpuinfo: str) -> dict[int, dict[str, str]]:
    """One block for each logical processor; older Arm kernels put common lines after them."""
    processors: dict[int, dict[str, str]] = {}
    common: dict[str, str] = {}
    block = common
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if not colon:
            block = common
        elif key == "processor" and value.isdecimal():
            block = processors.setdefault(int(value), {"processor": value})
        else:
            block[key] = value
    return {number: {**common, **own} for number, own in processors.items()}


def _allowed(evidence: Evidence) -> frozenset[int] | None:
    for line in (evidence.text("/proc/self/status") or "").splitlines():
        if line.startswith("Cpus_allowed_list:"):
            return parse_list(line.partition(":")[2])
    return None


def _n_physical(evidence: Evidence, usable: list[dict[str, str]]) -> int:
    """Distinct cores. x86 says them in cpuinfo; elsewhere sysfs tells who shares one."""
    if all("core id" in p for p in usable):
        return len({(p.get("physical id"), p["core id"]) for p in usable})
    groups = set()
    for p in usable:
        topology = f"/sys/devices/system/cpu/cpu{p.get('processor', 0)}/topology"
        siblings = evidence.text(f"{topology}/thread_siblings_list")
        groups.add(siblings or p.get("processor"))
    return len(groups)


def _isa(processor: Mapping[str, str]) -> tuple[str, ...]:
    words = (processor.get("flags") or processor.get("Features") or "").lower().split()
    words += processor.get("features", "").lower().split()  # s390x
    known = [ours for word, ours in _ISA.items() if word in words]
    if "v" in _riscv_letters(processor.get("isa", "")):
        known.append("rvv")
    return tuple(dict.fromkeys(known))


def _riscv_letters(isa: str) -> str:
    """ "rv64imafdcv_zicsr" -> "imafdcv" """
    return isa.removeprefix("rv64").removeprefix("rv32").partition("_")[0]


def _name(evidence: Evidence, processor: Mapping[str, str]) -> str:
    """x86 names its model. Arm gives a part number, and the board's name lies elsewhere."""
    if name := processor.get("model name") or processor.get("cpu"):
        return name
    core = arm_parts.name(processor.get("CPU implementer"), processor.get("CPU part"))
    board = evidence.text("/proc/device-tree/model") or evidence.text(
        "/sys/class/dmi/id/product_name"
    )
    if board and core:
        return f"{board} ({core})"
    return board or core or processor.get("uarch") or "CPU"


def _cache_bytes(evidence: Evidence) -> dict[int, int]:
    return dict(_caches(evidence))


def _caches(evidence: Evidence) -> Iterator[tuple[int, int]]:
    for folder in evidence.list("/sys/devices/system/cpu/cpu0/cache/index*"):
        level = evidence.number(f"{folder}/level")
        size = evidence.text(f"{folder}/size")  # "1024K"
        if level is None or size is None or evidence.text(f"{folder}/type") == "Instruction":
            continue
        unit = {"K": KIB, "M": MIB}.get(size[-1])
        if unit and size[:-1].isdecimal():
            yield level, int(size[:-1]) * unit
