"""What llama.cpp says while it loads, read for its numbers. Pure: lines in, values out.

The memory breakdown itself is a C++ map that ctypes can't read (llama-context.cpp
`llama_get_memory_breakdown`); the log lines carry the same sums:

    load_tensors:   CPU_Mapped model buffer size =   357.64 MiB
    llama_kv_cache:        CPU KV buffer size =   448.00 MiB
    llama_context:        CPU compute buffer size =   30.01 MiB
    llama_context:        CPU  output buffer size =     0.58 MiB
"""

import re
from collections.abc import Iterable

import msgspec

from edgellm.units import MIB

_LINE = re.compile(r"(\S+)\s+(model|KV|RS|compute|output) buffer size\s*=\s*([\d.]+) MiB")
_CACHE = re.compile(r"(?:kv_cache|memory_recurrent)\S*: size\s*=\s*([\d.]+) MiB")
_OUT_OF_MEMORY = re.compile(
    r"out of memory|bad_alloc|failed to allocate|unable to allocate|cannot allocate memory|"
    r"insufficient memory|Thread creation failed|"
    r"ErrorOutOfDeviceMemory|buffer size .* exceeds",
    re.IGNORECASE,
)


class DeviceMemory(msgspec.Struct, frozen=True, array_like=True):
    """What llama.cpp says it took on one of its buffers, in bytes."""

    name: str
    model_bytes: int
    context_bytes: int
    compute_bytes: int


def memory_by_buffer(
    lines: Iterable[str], output_growth_ratio: float = 1.0
) -> tuple[DeviceMemory, ...]:
    """Bytes that each buffer type took: weights, context (KV, recurrent state), compute.

    The output buffer grows, without a word, when more rows are asked for than at load: it is told
    as large as it gets, `output_growth_ratio` times what llama.cpp says.
    """
    sums: dict[str, list[int]] = {}
    for line in lines:
        if match := _LINE.search(line):
            name, kind, mib = match.groups()
            column = {"model": 0, "KV": 1, "RS": 1}.get(kind, 2)
            ratio = output_growth_ratio if kind == "output" else 1.0
            sums.setdefault(name, [0, 0, 0])[column] += round(ratio * _bytes(mib))
    return tuple(DeviceMemory(name, *columns) for name, columns in sums.items())


def context_bytes(lines: Iterable[str]) -> tuple[int, int]:
    """KV cache and compute of a load with `no_alloc`, whose cache buffers read 0 MiB.

    llama_kv_cache: size =  448.00 MiB (  4096 cells,  28 layers,  1/1 seqs), K (f16): …
    """
    lines = list(lines)
    caches = [match[1] for line in lines if (match := _CACHE.search(line))]
    buffers = [match for line in lines if (match := _LINE.search(line))]
    compute = [match[3] for match in buffers if match[2] == "compute"]
    return sum(map(_bytes, caches)), sum(map(_bytes, compute))


def says_out_of_memory(lines: Iterable[str]) -> bool:
    return any(_OUT_OF_MEMORY.search(line) for line in lines)


def last_error(lines: Iterable[str]) -> str:
    """The first line that names a cause; the ones after it only say that loading failed."""
    causes = [line.strip() for line in lines if re.search(r"error|fail|invalid", line, re.I)]
    return causes[0] if causes else ""


def _bytes(mib: str) -> int:
    return round(float(mib) * MIB)
