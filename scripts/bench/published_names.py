"""What published benchmark tables call devices, models, quantizations and builds.

Devices that profiles/devices.toml doesn't have, and processors, which no such table describes, are
here with their public data: memory bandwidth as sold, cores, instruction sets.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import msgspec

from edgellm.probe.hardware import Backend, Cpu, Hardware, MemoryPool
from edgellm.probe.known import catalog
from edgellm.probe.known.catalog import DeviceRow
from edgellm.probe.known.described import Part, assemble
from edgellm.units import GIB


@dataclass(frozen=True, slots=True)
class Row:
    """As published, columns in the file's words."""

    device: str
    backend: str
    n_devices: int
    model: str
    quant: str
    test: str
    tok_s: float
    ngl: str
    build: str
    source: str
    extra: str
    grade: str


# Patterns over "build source device", the first that is found; about the build of that day.
BUILDS: Final = (
    (r"Apple M5 Max", 8000), (r"PR branch 2025-11", 7400),
    (r"2023-", 1500), (r"2024-0[1-3]", 2200), (r"May 2024|2024-0[4-6]", 2900),
    (r"2024-1[01]", 4000), (r"discussions/4167", 3000),
    (r"2024-2025", 5500), (r"2025-0[1-6]", 5500), (r"Aug 2025|2025-0[789]", 6300),
    (r"discussions/15013|discussions/10879", 6300), (r"2025-1[0]", 6800),
    (r"2025-1[12]|Nov-Dec 2025", 7200),
)  # fmt: skip

# A table's label -> the mix that comes nearest to it; publishers' own mixes are a few per cent off.
MIXES: Final = {
    "MXFP4 MoE": "MXFP4", "Q4_K": "Q4_K_M", "Q4": "Q4_K_M", "Q4_K_XL": "Q4_K_M", "BF16": "BF16",
    "UD-Q4_K_XL": "Q4_K_M", "Q5_K_XL": "Q5_K_M", "UD-Q6_K": "Q6_K", "UD-Q6_K_XL": "Q6_K",
    "UD-Q8_K_XL": "Q8_0", "UD-Q3_K_M": "Q3_K_M", "UD-Q3_K_XL": "Q3_K_M", "Q3_K_XL": "Q3_K_M",
    "Q2_K_XL": "Q2_K", "Q3_K_P": "Q3_K_M", "Q4_K_P": "Q4_K_M", "Q2_K_P": "Q2_K",
}  # fmt: skip

# Labels without public rules that are nearly one type throughout.
UNIFORM: Final = {
    "Q3_K_S": "q3_k", "Q4_1": "q4_1", "IQ4_NL": "iq4_nl", "IQ3_S": "iq3_s", "UD-IQ4_NL": "iq4_nl",
    "UD-IQ2_XXS": "iq2_xxs",
}  # fmt: skip

# Patterns over a lower-case name -> the catalog's; derivatives have the shape of their origin.
_MODELS: Final = (
    (r"^llama 3 8b|llama[ -]?3\.1[: -]*8b", "llama3.1:8b"),
    (r"^llama 3 70b", "llama3.1:70b"),
    (r"llama[ -]?3\.[13][: -]*70b", "llama3.1:70b"),
    (r"llama[ -]?3\.1[: -]*405b", "llama3.1:405b"),
    (r"llama[ -]?3\.2[: -]*3b", "llama3.2:3b"),
    (r"llama[ -]?3\.2[: -]*1b", "llama3.2:1b"),
    (r"^llama 7b", "llama2:7b"),
    (r"^llama 13b", "llama2:13b"),
    (r"gpt-oss[ :-]*20b", "gpt-oss:20b"),
    (r"gpt-oss[ :-]*120b", "gpt-oss:120b"),
    (r"qwen3moe 30b|qwen3-(coder-)?30b-a3b|qwen3-coder:30b", "qwen3:30b-a3b"),
    (r"qwen3[ :-](4b)", "qwen3:4b"),
    (r"qwen3[ :-]8b", "qwen3:8b"),
    (r"qwen3[ :-]14b", "qwen3:14b"),
    (r"qwen3[ :-]32b", "qwen3:32b"),
    (r"qwen3[ :-]0\.6b", "qwen3:0.6b"),
    (r"qwen3[ :-]1\.7b", "qwen3:1.7b"),
    (r"qw\w*3\.[56][ :-]*35b", "qwen3.5:35b-a3b"),
    (r"qwen3\.[56][ :-]*27b", "qwen3.5:27b"),
    (r"qwen3\.5[ :-]9b", "qwen3.5:9b"),
    (r"qwen3\.5[ :-]4b", "qwen3.5:4b"),
    (r"qwen3\.5[ :-]2b", "qwen3.5:2b"),
    (r"qwen3\.5[ :-]0\.8b", "qwen3.5:0.8b"),
    (r"qwen2 7b|qwen2\.5-(coder-)?7b", "qwen2.5:7b"),
    (r"deepseek-r1-distill-qwen-14b|qwen2\.5-(coder[:-])?14b", "qwen2.5:14b"),
    (r"qwen2\.5-(coder-)?0\.5b", "qwen2.5:0.5b"),
    (r"qwen2\.5-(coder-)?1\.5b", "qwen2.5:1.5b"),
    (r"qwen2\.5-(coder-)?3b", "qwen2.5:3b"),
    (r"gemma-?3[ -]4b", "gemma3:4b"),
    (r"gemma-?3-1b", "gemma3:1b"),
    (r"gemma-?3-270m", "gemma3:270m"),
    (r"gemma-?3-12b", "gemma3:12b"),
    (r"gemma-?3-27b", "gemma3:27b"),
    (r"gemma-2-2b", "gemma2:2b"),
    (r"gemma-2-9b", "gemma2:9b"),
    (r"mistral[ -]7b", "mistral:7b"),
    (r"tinyllama", "tinyllama:1.1b"),
    (r"phi2 3b", "phi2:2.7b"),
    (r"phi-4-mini", "phi4-mini:3.8b"),
    (r"phi-3\.5-mini", "phi3:3.5-mini"),
    (r"phi-4\b(?!-)", "phi4:14b"),
    (r"mistral-nemo", "mistral-nemo:12b"),
    (r"mistral-small-3\.2-24b", "mistral-small:24b"),
    (r"deepseek-r1 671b", "deepseek-r1:671b"),
    (r"lfm2(\.5)?-8b-a1b|lfm2\.5:8b", "lfm2:8b-a1b"),
    (r"lfm2(\.5)?-1\.2b", "lfm2:1.2b"),
    (r"lfm2(\.5)?-350m", "lfm2:350m"),
    (r"lfm2-700m", "lfm2:700m"),
    (r"lfm2-2\.6b", "lfm2:2.6b"),
    (r"smollm2-135m", "smollm2:135m"),
    (r"smollm2-360m", "smollm2:360m"),
    (r"smollm2-1\.7b", "smollm2:1.7b"),
    (r"smollm3-3b", "smollm3:3b"),
    (r"glm-4\.7-flash|deepseek2 30b\.a3b", "glm4.7:flash"),
)

_GB_S: Final = 1e9


@dataclass(frozen=True, slots=True)
class _Processor:
    pattern: str
    n_cores: int
    gb_s: float
    isa: tuple[str, ...]
    ram_gib: float = 32.0


_VNNI, _AVX2 = ("avx2", "avx_vnni", "avx512_vnni"), ("avx2", "fma", "f16c")
_PROCESSORS: Final = (
    _Processor(r"i7-1165G7", 4, 51.2, _VNNI),
    _Processor(r"i7-7820HQ", 4, 38.4, _AVX2),
    _Processor(r"i5-9500", 6, 42.7, _AVX2),
    _Processor(r"Ultra 7 155H", 14, 89.6, ("avx2", "avx_vnni")),
    _Processor(r"Ryzen AI Max\+ 395", 16, 256.0, _VNNI, 128),
    _Processor(r"Ryzen AI 5 340", 6, 89.6, _VNNI),
    _Processor(r"N150|N100", 4, 38.4, ("avx2", "avx_vnni"), 16),
    _Processor(r"^Pi 5|^Pi 500", 4, 17.1, ("neon", "fp16", "dotprod"), 16),
    _Processor(r"Orion O6|MS-R1", 12, 96.0, ("neon", "dotprod", "i8mm"), 64),
    _Processor(r"AmpereOne A192", 192, 332.8, ("neon", "dotprod", "i8mm"), 512),
    _Processor(r"M2 Air", 4, 100.0, ("neon", "dotprod", "i8mm"), 24),
    _Processor(r"Q8400", 4, 10.6, ("ssse3",), 8),
    _Processor(r"RISC-V|P550", 4, 20.0, (), 16),
)

# Machines around a card, where experts or layers were left to the CPU: cores, GB/s, instructions.
_HOSTS: Final = (
    (r"9900X", 12, 89.6, _VNNI),
    (r"10900X", 10, 102.0, _VNNI),
)

# name, patterns, backend, architecture, GiB, GB/s, fp16 TFLOPS; public data sheets
_MORE_DEVICES: Final = (
    ("RX 9060 XT 16GB", r"gfx1200", "rocm", "gfx1200", 16, 320.0, 103.0, "5.0 x16"),
    ("RX 6800 XT", r"gfx1030", "rocm", "gfx1030", 16, 512.0, 41.5, "4.0 x16"),
    ("RX 6500 XT", r"RX 6500 XT", "rocm", "gfx1034", 4, 144.0, 11.5, "4.0 x4"),
    ("Radeon PRO W7700", r"W7700", "rocm", "gfx1101", 16, 576.0, 56.5, "4.0 x16"),
    ("Arc A310", r"Arc A310", "vulkan", None, 4, 124.0, 49.0, "4.0 x8"),
    ("Arc Pro B50", r"Arc Pro B50", "vulkan", None, 16, 224.0, 85.0, "5.0 x8"),
    ("NVIDIA RTX A400", r"RTX A400\b|Nvidia A400\b", "cuda", "sm_86", 4, 96.0, 10.8, "4.0 x8"),
    ("Radeon 860M", r"840M|860M", "vulkan", "gfx1152", 30, 89.6, 12.0, None),
)  # fmt: skip

_BACKENDS: Final = (
    (r"vulkan", "vulkan"), (r"hip|rocm", "rocm"), (r"metal", "metal"), (r"cuda", "cuda"),
    (r"cpu", "cpu"), (r"opencl", "opencl"),
)  # fmt: skip


# "3090 24GB", "Nvidia A4000": what lacks its family's name.
_BARE_NUMBER: Final = re.compile(r"(?:^|\bNvidia )(?=[2345]0[5-9]0\b|A\d{3,4}\b(?! SXM| PCIe| 80))")


def model_of(name: str) -> str | None:
    lowered = name.lower()
    return next((known for pattern, known in _MODELS if re.search(pattern, lowered)), None)


def hosts_behind_slow_links(device: str) -> bool:
    return bool(re.match(r"Pi (5|500|CM5)", device)) and "(" in device


def device_of(row: Row) -> tuple[str, Hardware] | None:
    """The machine, with the name that all of its spellings share. None: nobody knows it."""
    backend = _backend(row)
    if backend == "cpu":
        return _processor(row.device)
    found = _accelerator(row.device)
    if found is None:
        return None
    name, part = found
    backend = backend or part.row.backend
    part = replace(part, backend=backend, free_bytes=None if part.row.unified else part.free_bytes)
    n_cores, gb_s, isa = next(
        (about for pattern, *about in _HOSTS if re.search(pattern, row.device)), (8, 60.0, _AVX2)
    )
    host = MemoryPool("host", "host", 96 * GIB, 96 * GIB, gb_s * _GB_S)
    if part.row.unified:
        size = int((part.row.memory_gib or 64) * GIB)
        host = MemoryPool("host", "unified", size, size, part.row.bandwidth_bytes_s)
    cpu = Cpu("described CPU", n_cores, 2 * n_cores, isa)
    system = "Darwin" if backend == "metal" else "Linux"
    return name, assemble([part] * row.n_devices, host, cpu, system)


def _backend(row: Row) -> Backend | None:
    says = row.backend.lower()
    found = next((backend for pattern, backend in _BACKENDS if re.search(pattern, says)), None)
    if found == "cuda" and re.search(r"\bm[1-5]\b", row.device.lower()):
        return "metal"  # a column that a Mac filled in wrongly
    return found  # type: ignore[return-value]


def _processor(device: str) -> tuple[str, Hardware] | None:
    known = next((row for row in _PROCESSORS if re.search(row.pattern, device)), None)
    if known is None:
        return None
    size = int(known.ram_gib * GIB)
    host = MemoryPool("host", "host", size, size, known.gb_s * _GB_S)
    cpu = Cpu(device, known.n_cores, known.n_cores, known.isa)
    return f"CPU {known.pattern}", assemble([], host, cpu)


def _accelerator(device: str) -> tuple[str, Part] | None:
    for row, pattern in _more_devices():
        if re.search(pattern, device):
            return row.name, _part(row)
    if apple := _apple(device):
        return apple
    text = _squeezed(_BARE_NUMBER.sub("RTX ", device))
    keys = [key for key in _keys() if key in text]
    if not keys:
        return None
    row = _keys()[max(keys, key=len)]
    return row.name, _part(row)


def _apple(device: str) -> tuple[str, Part] | None:
    chip = re.search(r"\bM([1-5])(?: M[1-5])? ?(Pro|Max|Ultra)?", device)
    if chip is None or not re.search(r"Apple|Mac|^M\d", device):
        return None
    row = catalog.load().named(f"M{chip[1]} {chip[2] or ''}".strip())
    cores = re.search(r"(\d+)[ -]?(?:core|GPU Core|c GPU)", device, re.IGNORECASE)
    if cores:
        row = _with_cores(row, int(cores[1]))
    return row.name, _part(row)


def _with_cores(row: DeviceRow, n_cores: int) -> DeviceRow:
    """The chip of that name that has so many; how much memory is beside it nobody tells."""
    cut = catalog.load().row(row.device_name, n_gpu_cores=n_cores) or row
    return msgspec.structs.replace(
        row, fp16_tflops=cut.fp16_tflops, bandwidth_gb_s=cut.bandwidth_gb_s
    )


def _part(row: DeviceRow) -> Part:
    size = int((row.memory_gib or 24) * GIB)
    return Part(row, size, f"PCIe {row.pcie}" if row.pcie else None)


@cache
def _keys() -> dict[str, DeviceRow]:
    rows = catalog.load().device
    named = {_squeezed(name): row for row in rows for name in (row.name, *row.also)}
    return {key: row for key, row in named.items() if len(key) > 2 and row.vendor != "apple"}


def _squeezed(text: str) -> str:
    return re.sub(r"[^a-z0-9+]+", "", text.lower().replace("nvidia", "").replace("tesla", ""))


@cache
def _more_devices() -> tuple[tuple[DeviceRow, str], ...]:
    return tuple(
        (
            DeviceRow(
                name=name, vendor="", match=(name,), source="data sheet", date="2026-11-28",
                backend=backend, architecture=arch, memory_gib=float(gib), bandwidth_gb_s=gb_s,
                fp16_tflops=tflops, pcie=pcie, unified=pcie is None,
            ),
            pattern,
        )
        for name, pattern, backend, arch, gib, gb_s, tflops, pcie in _MORE_DEVICES
    )  # fmt: skip
