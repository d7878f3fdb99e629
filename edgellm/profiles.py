"""Reads profiles/*.toml into the values that the selector takes: numbers we did not compute.

Units change here, once: a file says `layer_us`, `gb_s` and `mib`, as people write them; the values
say `layer_s`, `bytes_s` and `bytes`. Every row names its source, so a row without one is refused.
"""

import tomllib
from functools import cache
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from edgellm.errors import ConfigError, ModelNotFound
from edgellm.probe.hardware import Backend, Cpu, Device, Hardware, MemoryPool
from edgellm.resources import profiles_dir
from edgellm.selector.plan import KVType, Use
from edgellm.selector.profiles import (
    BackendFamily,
    CpuPrefill,
    KVQuality,
    Profiles,
    QualityProfile,
    QuantQuality,
    SpeedProfile,
    Spread,
    Workload,
)
from edgellm.units import GIB, MIB

_GB = 10**9  # bandwidths are told in decimal gigabytes


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A misspelt key is an error, not a default."""

    source: str = ""
    date: str = ""
    note: str = ""


class _Family(_Row, frozen=True, kw_only=True):
    name: str
    backend: Backend
    name_contains: tuple[str, ...] = ()
    layer_us: float
    efficiency: float
    moe_layer_us: float | None = None
    moe_efficiency: float | None = None
    flops_per_byte: float
    low: float
    high: float
    prefill_low: float
    prefill_high: float
    unknown_bandwidth_gb_s: float
    overhead_mib: int


class _CpuPrefill(_Row, frozen=True, kw_only=True):
    isa: tuple[str, ...]
    gflops_per_core: float


class _Speed(_Row, frozen=True, kw_only=True):
    unknown_low: float
    unknown_high: float
    step_us: float
    hop_us: float
    link_gb_s: float
    moe_prefill_ratio: float
    hop_source: str
    family: tuple[_Family, ...]
    cpu_prefill: tuple[_CpuPrefill, ...]


class _Quant(_Row, frozen=True, kw_only=True):
    label: str
    bits_per_weight: float
    kld: float


class _KV(_Row, frozen=True, kw_only=True):
    type: KVType
    kld_k: float
    kld_v: float


class _Quality(_Row, frozen=True, kw_only=True):
    acceptable_kld: float
    quant: tuple[_Quant, ...]
    kv: tuple[_KV, ...]


class _Workload(_Row, frozen=True, kw_only=True):
    use: Use
    n_parallel: int
    n_ctx_seq: int
    n_ctx_seq_min: int
    n_ubatch: int
    kv_unified: bool
    n_prompt: int
    n_answer: int
    ttft_target_s: float
    itl_target_s: float
    decode_target_tok_s: float
    why: str


class _BoardDevice(_Row, frozen=True, kw_only=True):
    name: str
    vendor: str
    backend: Backend
    memory_gib: float | None = None  # None: it lives in the host's memory
    bandwidth_gb_s: float | None = None
    architecture: str | None = None
    link: str | None = None
    count: int = 1


class _Board(_Row, frozen=True, kw_only=True):
    name: str
    system: str = "Linux"
    ram_gib: float
    ram_free_gib: float
    ram_bandwidth_gb_s: float | None
    ram_kind: Literal["host", "unified"] = "host"
    cpu: str
    n_physical_cores: int
    n_logical_cores: int
    isa: tuple[str, ...] = ()
    device: tuple[_BoardDevice, ...] = ()


RowT = TypeVar("RowT", bound=_Row)


@cache
def load_profiles() -> Profiles:
    """What ships with edgellm. Raises ConfigError when a file is missing or says something odd."""
    root = profiles_dir()
    workloads = sorted((root / "workloads").glob("*.toml"))
    return Profiles(
        speed=_speed(_read(root / "speed.toml", _Speed)),
        quality=_quality(_read(root / "quality.toml", _Quality)),
        workloads=tuple(_workload(_read(path, _Workload)) for path in workloads),
    )


def board_names() -> tuple[str, ...]:
    return tuple(path.stem for path in sorted((profiles_dir() / "boards").glob("*.toml")))


def hardware_from_board(name: str) -> Hardware:
    """A described machine, for `edgellm plan MODEL --on NAME`. Raises ModelNotFound."""
    names = board_names()
    if name not in names:
        raise ModelNotFound(f"no board is called {name!r}", hint=f"known: {', '.join(names)}")
    return _hardware(_read(profiles_dir() / "boards" / f"{name}.toml", _Board))


def _read(path: Path, kind: type[RowT]) -> RowT:
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        row = msgspec.convert(data, kind)
    except OSError as error:
        raise ConfigError(f"{path.name} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"profiles/{path.name}: {error}") from error
    if not row.date:
        raise ConfigError(f"profiles/{path.name} has no date")
    return row


def _speed(file: _Speed) -> SpeedProfile:
    return SpeedProfile(
        families=tuple(_family(row) for row in file.family),
        cpu_prefill=tuple(
            CpuPrefill(row.isa, row.gflops_per_core * 1e9) for row in file.cpu_prefill
        ),
        unknown_spread=Spread(file.unknown_low, file.unknown_high),
        step_s=file.step_us / 1e6,
        hop_s=file.hop_us / 1e6,
        link_bytes_s=file.link_gb_s * _GB,
        moe_prefill_ratio=file.moe_prefill_ratio,
    )


def _family(row: _Family) -> BackendFamily:
    return BackendFamily(
        name=row.name,
        backend=row.backend,
        layer_s=row.layer_us / 1e6,
        efficiency=row.efficiency,
        flops_per_byte=row.flops_per_byte,
        unknown_bandwidth_bytes_s=row.unknown_bandwidth_gb_s * _GB,
        overhead_bytes=row.overhead_mib * MIB,
        spread=Spread(row.low, row.high),
        prefill_spread=Spread(row.prefill_low, row.prefill_high),
        moe_layer_s=None if row.moe_layer_us is None else row.moe_layer_us / 1e6,
        moe_efficiency=row.moe_efficiency,
        name_contains=row.name_contains,
    )


def _quality(file: _Quality) -> QualityProfile:
    return QualityProfile(
        quants=tuple(QuantQuality(row.label, row.bits_per_weight, row.kld) for row in file.quant),
        kv=tuple(KVQuality(row.type, row.kld_k, row.kld_v) for row in file.kv),
        acceptable_kld=file.acceptable_kld,
    )


def _workload(row: _Workload) -> Workload:
    return Workload(
        use=row.use,
        n_parallel=row.n_parallel,
        n_ctx_seq=row.n_ctx_seq,
        n_ctx_seq_min=row.n_ctx_seq_min,
        n_ubatch=row.n_ubatch,
        kv_unified=row.kv_unified,
        n_prompt=row.n_prompt,
        n_answer=row.n_answer,
        ttft_target_s=row.ttft_target_s,
        itl_target_s=row.itl_target_s,
        decode_target_tok_s=row.decode_target_tok_s,
        why=row.why,
    )


def _hardware(board: _Board) -> Hardware:
    """Ids are made up, in the order of the file: the board is nobody's machine."""
    devices: list[Device] = []
    pools: list[MemoryPool] = []
    for row in chain.from_iterable(repeat(row, row.count) for row in board.device):
        n = sum(device.backend == row.backend for device in devices)
        device_id = f"{row.backend}:{n}"
        if row.memory_gib is not None:
            pools.append(_pool(device_id, row))
        devices.append(_device(device_id, f"{row.backend.upper()}{n}", row))
    host = MemoryPool(
        "host",
        board.ram_kind,
        int(board.ram_gib * GIB),
        int(board.ram_free_gib * GIB),
        board.ram_bandwidth_gb_s and board.ram_bandwidth_gb_s * _GB,
    )
    devices.append(Device("cpu", "cpu", board.cpu, "cpu", "host", ggml_name="CPU"))
    cpu = Cpu(board.cpu, board.n_physical_cores, board.n_logical_cores, board.isa)
    return Hardware(tuple(devices), (*pools, host), cpu, system=board.system)


def _pool(device_id: str, row: _BoardDevice) -> MemoryPool:
    assert row.memory_gib is not None
    total = int(row.memory_gib * GIB)
    bandwidth = row.bandwidth_gb_s and row.bandwidth_gb_s * _GB
    return MemoryPool(device_id, "dedicated", total, total, bandwidth)


def _device(device_id: str, ggml_name: str, row: _BoardDevice) -> Device:
    return Device(
        id=device_id,
        vendor=row.vendor,
        name=row.name,
        backend=row.backend,
        pool_id="host" if row.memory_gib is None else device_id,
        architecture=row.architecture,
        ggml_name=ggml_name,
        link=row.link,
    )
