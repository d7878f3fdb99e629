"""Reads profiles/*.toml into the values that the selector takes: numbers we did not compute.

Units change here, once: a file says `layer_us`, `gb_s` and `mib`, as people write them; the values
say `layer_s`, `bytes_s` and `bytes`. A file without a date is refused; a test holds every row to
its source.
"""

from collections.abc import Mapping
from functools import cache
from math import inf

from edgellm.errors import ConfigError
from edgellm.models.anatomy.tensor_types import TensorClass
from edgellm.probe.hardware import Backend
from edgellm.probe.known.limits import load as load_limits
from edgellm.resources import ProfileRow, profiles_dir, read_profile
from edgellm.selector.plan import KVType, Use
from edgellm.selector.profiles import (
    ClassWeight,
    KVQuality,
    NativeType,
    Profiles,
    QualityProfile,
    QuantQuality,
    TypeQuality,
    Workload,
)
from edgellm.selector.speed.speed_profile import (
    BackendFamily,
    CpuKernels,
    CpuSpeed,
    Era,
    PlainAttention,
    SpeedProfile,
    Spread,
)
from edgellm.units import MIB

_GB = 10**9  # bandwidths are told in decimal gigabytes


class _Family(ProfileRow, frozen=True, kw_only=True):
    name: str
    backend: Backend
    architectures: tuple[str, ...] = ()
    name_contains: tuple[str, ...] = ()
    layer_us: float
    batch_layer_us: float
    prompt_layer_us: float
    moe_layer_ratio: float
    recurrent_layer_ratio: float
    efficiency: float
    expert_efficiency: float
    memory_efficiency: float
    unpack_ratio: float
    no_flash_ratio: float
    flops_ratio: float
    expert_flops_ratio: float
    attention_flops_ratio: float
    flops_per_byte: float
    vector_flops_per_byte: float | None = None
    low: float
    high: float
    prefill_low: float
    prefill_high: float
    unknown_bandwidth_gb_s: float
    overhead_mib: int
    types: str = ""  # the name of its row among `type_cost`, for unpacking
    prefill_types: str = ""


class _TypeCost(ProfileRow, frozen=True, kw_only=True):
    """What a weight of each type costs beside one of q4_k."""

    name: str
    costs: dict[str, float]


class _Era(ProfileRow, frozen=True, kw_only=True):
    backend: Backend
    before_build: int
    layer_ratio: float
    moe_layer_ratio: float
    batch_layer_ratio: float = 1.0
    flops_ratio: float
    most_read_gb_s: float = inf
    n_apart: int | None = None


class _CpuKernels(ProfileRow, frozen=True, kw_only=True):
    isa: tuple[str, ...]
    decode_gweights_s: float
    gflops: float
    plain_attention: tuple[float, float, float] | None = None  # ratio, Gflop/s, ratio
    prefill_types: str = ""  # as a family's, where such cores differ from it


class _Speed(ProfileRow, frozen=True, kw_only=True):
    unknown_spread: tuple[float, float]
    split_spread: tuple[float, float]
    hybrid_spread: tuple[float, float]
    expert_spread: tuple[float, float]
    expert_prefill_spread: tuple[float, float]
    pipeline_spread: tuple[float, float]
    copy_spread: tuple[float, float]
    step_us: float
    hop_us: float
    expert_hop_us: float
    sync_us: float
    link_gb_s: float
    link_efficiency: float
    copy_gb_s: float
    disk_gb_s: float
    pipeline_efficiency: float
    n_apart: dict[Backend, int]
    thread_layer_us: float
    cpu_attention_ratio: float
    family: tuple[_Family, ...]
    type_cost: tuple[_TypeCost, ...]
    cpu_kernels: tuple[_CpuKernels, ...]
    era: tuple[_Era, ...] = ()


class _Quant(ProfileRow, frozen=True, kw_only=True):
    label: str
    bits_per_weight: float
    kld: float


class _KV(ProfileRow, frozen=True, kw_only=True):
    type: KVType
    kld_k: float
    kld_v: float


class _TypeQuality(ProfileRow, frozen=True, kw_only=True):
    name: str
    kld: float
    plain_ratio: float = 1.0


class _ClassWeight(ProfileRow, frozen=True, kw_only=True):
    name: TensorClass
    weight: float


class _NativeType(ProfileRow, frozen=True, kw_only=True):
    architecture: str
    type: str


class _Quality(ProfileRow, frozen=True, kw_only=True):
    acceptable_kld: float
    quant: tuple[_Quant, ...]
    kv: tuple[_KV, ...]
    type: tuple[_TypeQuality, ...]
    tensor_class: tuple[_ClassWeight, ...]
    native: tuple[_NativeType, ...] = ()


class _Workload(ProfileRow, frozen=True, kw_only=True):
    use: Use
    n_parallel: int
    n_ctx_seq: int
    n_ctx_seq_min: int
    n_ubatch: int
    kv_unified: bool
    kv_unified_if_idle_stays: bool
    kv_unified_if_slower: bool
    n_prompt: int
    n_answer: int
    ttft_target_s: float
    itl_target_s: float
    decode_target_tok_s: float
    why: str


@cache
def load_profiles() -> Profiles:
    """What ships with edgellm. Raises ConfigError when a file is missing or says something odd."""
    root = profiles_dir()
    workloads = sorted((root / "workloads").glob("*.toml"))
    return Profiles(
        speed=_speed(read_profile(root / "speed.toml", _Speed)),
        quality=_quality(read_profile(root / "quality.toml", _Quality)),
        workloads=tuple(_workload(read_profile(path, _Workload)) for path in workloads),
        backends=load_limits(),
    )


def _speed(file: _Speed) -> SpeedProfile:
    costs = {row.name: row.costs for row in file.type_cost}
    return SpeedProfile(
        families=tuple(_family(row, costs, file.n_apart) for row in file.family),
        cpu=CpuSpeed(
            kernels=tuple(_kernels(row, costs) for row in file.cpu_kernels),
            thread_layer_s=file.thread_layer_us / 1e6,
            attention_ratio=file.cpu_attention_ratio,
        ),
        unknown_spread=Spread(*file.unknown_spread),
        split_spread=Spread(*file.split_spread),
        hybrid_spread=Spread(*file.hybrid_spread),
        expert_spread=Spread(*file.expert_spread),
        expert_prefill_spread=Spread(*file.expert_prefill_spread),
        pipeline_spread=Spread(*file.pipeline_spread),
        copy_spread=Spread(*file.copy_spread),
        step_s=file.step_us / 1e6,
        hop_s=file.hop_us / 1e6,
        expert_hop_s=file.expert_hop_us / 1e6,
        sync_s=file.sync_us / 1e6,
        link_bytes_s=file.link_gb_s * _GB,
        link_efficiency=file.link_efficiency,
        copy_bytes_s=file.copy_gb_s * _GB,
        disk_bytes_s=file.disk_gb_s * _GB,
        pipeline_efficiency=file.pipeline_efficiency,
        eras=tuple(_era(row) for row in file.era),
    )


def _era(row: _Era) -> Era:
    return Era(
        row.backend,
        row.before_build,
        row.layer_ratio,
        row.flops_ratio,
        row.moe_layer_ratio,
        row.batch_layer_ratio,
        row.most_read_gb_s * _GB,
        row.n_apart,
    )


def _kernels(row: _CpuKernels, costs: Mapping[str, Mapping[str, float]]) -> CpuKernels:
    plain = None
    if row.plain_attention is not None:
        row_ratio, gflops, masked_ratio = row.plain_attention
        plain = PlainAttention(row_ratio, gflops * 1e9, masked_ratio)
    prefill = _costs(costs, row.prefill_types) if row.prefill_types else None
    return CpuKernels(row.isa, row.decode_gweights_s * 1e9, row.gflops * 1e9, plain, prefill)


def _family(
    row: _Family, costs: Mapping[str, Mapping[str, float]], n_apart: Mapping[Backend, int]
) -> BackendFamily:
    return BackendFamily(
        name=row.name,
        backend=row.backend,
        architectures=row.architectures,
        name_contains=row.name_contains,
        layer_s=row.layer_us / 1e6,
        batch_layer_s=row.batch_layer_us / 1e6,
        prompt_layer_s=row.prompt_layer_us / 1e6,
        moe_layer_ratio=row.moe_layer_ratio,
        recurrent_layer_ratio=row.recurrent_layer_ratio,
        efficiency=row.efficiency,
        expert_efficiency=row.expert_efficiency,
        memory_efficiency=row.memory_efficiency,
        unpack_ratio=row.unpack_ratio,
        no_flash_ratio=row.no_flash_ratio,
        flops_ratio=row.flops_ratio,
        expert_flops_ratio=row.expert_flops_ratio,
        attention_flops_ratio=row.attention_flops_ratio,
        flops_per_byte=row.flops_per_byte,
        vector_flops_per_byte=row.vector_flops_per_byte,
        n_apart=n_apart.get(row.backend, 1),
        type_costs=_costs(costs, row.types),
        prefill_costs=_costs(costs, row.prefill_types),
        unknown_bandwidth_bytes_s=row.unknown_bandwidth_gb_s * _GB,
        overhead_bytes=row.overhead_mib * MIB,
        spread=Spread(row.low, row.high),
        prefill_spread=Spread(row.prefill_low, row.prefill_high),
    )


def _costs(known: Mapping[str, Mapping[str, float]], name: str) -> Mapping[str, float]:
    """Raises ConfigError for a name that no `type_cost` row has."""
    if name and name not in known:
        raise ConfigError(f"profiles/speed.toml has no type_cost row called {name!r}")
    return known.get(name, {})


def _quality(file: _Quality) -> QualityProfile:
    return QualityProfile(
        quants=tuple(QuantQuality(row.label, row.bits_per_weight, row.kld) for row in file.quant),
        kv=tuple(KVQuality(row.type, row.kld_k, row.kld_v) for row in file.kv),
        acceptable_kld=file.acceptable_kld,
        types=tuple(TypeQuality(row.name, row.kld, row.plain_ratio) for row in file.type),
        classes=tuple(ClassWeight(row.name, row.weight) for row in file.tensor_class),
        native=tuple(NativeType(row.architecture, row.type) for row in file.native),
    )


def _workload(row: _Workload) -> Workload:
    return Workload(
        use=row.use,
        n_parallel=row.n_parallel,
        n_ctx_seq=row.n_ctx_seq,
        n_ctx_seq_min=row.n_ctx_seq_min,
        n_ubatch=row.n_ubatch,
        kv_unified=row.kv_unified,
        kv_unified_if_idle_stays=row.kv_unified_if_idle_stays,
        kv_unified_if_slower=row.kv_unified_if_slower,
        n_prompt=row.n_prompt,
        n_answer=row.n_answer,
        ttft_target_s=row.ttft_target_s,
        itl_target_s=row.itl_target_s,
        decode_target_tok_s=row.decode_target_tok_s,
        why=row.why,
    )


class CloudPrice(ProfileRow, frozen=True, kw_only=True):
    name: str
    device: str  # as `edgellm plan --device` calls it
    per_hour: float  # in US dollars, on demand


class Prices(ProfileRow, frozen=True, kw_only=True):
    cloud: tuple[CloudPrice, ...]


def load_prices() -> Prices:
    """Raises ConfigError, also for a price without a source."""
    prices = read_profile(profiles_dir() / "prices.toml", Prices)
    for row in prices.cloud:
        if not row.source:
            raise ConfigError(f"profiles/prices.toml: {row.name} has no source")
    return prices
