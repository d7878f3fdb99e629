"""How fast: tokens a second as a range, from bytes read, bandwidth and a constant for each layer.

    decode   t = Σ over devices [ layers × c  +  bytes read / (efficiency × bandwidth) ] + fixed
    prefill  t = Σ over devices   max(2 × active parameters × ub / F, bytes touched / (eff × bw))

`fixed` is what a step costs whatever the model, and the hops between devices. One stream passes
through a layer split one device after the other, so times add and bandwidths do not. The constants
are fits over published benchmarks by backend family (profiles/speed.toml). A bandwidth that nobody
knows is assumed, and the range says so by its width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgellm.models.spec import LayerSpec, ModelSpec
from edgellm.probe.hardware import Hardware
from edgellm.selector.memory import ContextShape, cell_bytes
from edgellm.selector.plan import Placement, Range, Share
from edgellm.selector.profiles import BackendFamily, SpeedProfile, Spread

_DEPTH = 512  # tokens already in the cache when we say how fast one decodes


@dataclass(frozen=True, slots=True)
class _Stage:
    """One device's part of a token."""

    time_s: float
    spread: Spread


def decode_tok_s(
    spec: ModelSpec,
    shape: ContextShape,
    placement: Placement,
    hardware: Hardware,
    profile: SpeedProfile,
    depth: int = _DEPTH,
    n_streams: int = 1,
) -> Range:
    """Tokens of all streams together, with `depth` tokens in each one's cache."""
    working = [share for share in placement.shares if share.layers]
    stages = [
        _decode_stage(spec, shape, share, hardware, profile, depth, n_streams) for share in working
    ]
    return _rate(n_streams, stages, _fixed_s(working, profile))


def prefill_tok_s(
    spec: ModelSpec,
    shape: ContextShape,
    placement: Placement,
    hardware: Hardware,
    profile: SpeedProfile,
) -> Range:
    """One long prompt into an empty cache."""
    working = [share for share in placement.shares if share.layers]
    offloads = any(share.device_id != "cpu" for share in working)
    stages = [_prefill_stage(spec, shape, share, hardware, profile, offloads) for share in working]
    return _rate(shape.n_tokens, stages, _fixed_s(working, profile))


def active_bytes(spec: ModelSpec, layer: LayerSpec, n_tokens: int = 1) -> int:
    """Weights that a step over `n_tokens` reads: of the experts, those that are hit.

    With n_tokens independent tokens an expert is missed with (1 − used/n)^n_tokens.
    """
    if not spec.n_expert:
        return layer.weight_bytes
    missed = (1 - spec.n_expert_used / spec.n_expert) ** n_tokens
    return layer.weight_bytes - int(layer.expert_bytes * missed)


def _decode_stage(
    spec: ModelSpec,
    shape: ContextShape,
    share: Share,
    hardware: Hardware,
    profile: SpeedProfile,
    depth: int,
    n_streams: int,
) -> _Stage:
    family, bandwidth, spread = _behaviour(share, hardware, profile)
    blocks = [spec.layers[i] for i in share.layers if i < spec.n_layers]
    read = sum(active_bytes(spec, layer, n_streams) for layer in blocks)
    read += n_streams * sum(_memory_read_bytes(spec, layer, shape, depth) for layer in blocks)
    read += spec.output_bytes if spec.n_layers in share.layers else 0
    layer_s, efficiency = family.layer_s, family.efficiency
    if spec.n_expert:
        layer_s = family.moe_layer_s or layer_s
        efficiency = family.moe_efficiency or efficiency
    return _Stage(len(blocks) * layer_s + read / (efficiency * bandwidth), spread)


def _prefill_stage(
    spec: ModelSpec,
    shape: ContextShape,
    share: Share,
    hardware: Hardware,
    profile: SpeedProfile,
    offloads: bool,
) -> _Stage:
    """With `offloads` the host's layers are computed elsewhere: op_offload copies their weights."""
    family, bandwidth, _ = _behaviour(share, hardware, profile)
    blocks = [spec.layers[i] for i in share.layers if i < spec.n_layers]
    touched = sum(active_bytes(spec, layer, shape.n_tokens) for layer in blocks)
    per_byte = spec.n_params / max(1, spec.weight_bytes)
    work = 2 * per_byte * sum(active_bytes(spec, layer) for layer in blocks) * shape.n_tokens
    flops_s = family.flops_per_byte * bandwidth
    if share.device_id == "cpu":
        flops_s = _cpu_flops_s(hardware, profile) or flops_s
    if spec.n_expert:
        flops_s *= profile.moe_prefill_ratio
    time_s = max(work / flops_s, touched / (family.efficiency * bandwidth))
    if offloads and share.device_id == "cpu":
        time_s = min(time_s, touched / profile.link_bytes_s)
    return _Stage(len(blocks) * family.layer_s + time_s, family.prefill_spread)


def _memory_read_bytes(spec: ModelSpec, layer: LayerSpec, shape: ContextShape, depth: int) -> int:
    match layer.kv_kind:
        case "none":
            return 0
        case "recurrent":
            return 2 * layer.state_bytes  # read and written
        case "sliding":
            return min(depth, spec.n_swa) * cell_bytes(layer, shape)
        case "full" | "latent":
            return depth * cell_bytes(layer, shape)


def _behaviour(
    share: Share, hardware: Hardware, profile: SpeedProfile
) -> tuple[BackendFamily, float, Spread]:
    family = profile.family(hardware.device(share.device_id))
    bandwidth = hardware.pool(share.pool_id).bandwidth_bytes_s
    if bandwidth:
        return family, bandwidth, family.spread
    guess = profile.unknown_spread
    wide = Spread(family.spread.low * guess.low, family.spread.high * guess.high)
    return family, family.unknown_bandwidth_bytes_s, wide


def _cpu_flops_s(hardware: Hardware, profile: SpeedProfile) -> float | None:
    cpu = hardware.cpu
    row = next((row for row in profile.cpu_prefill if row.matches(cpu)), None)
    return row.flops_s_per_core * cpu.n_physical_cores if row else None


def _fixed_s(working: Sequence[Share], profile: SpeedProfile) -> float:
    return profile.step_s + profile.hop_s * (len(working) - 1)


def _rate(n_tokens: int, stages: Sequence[_Stage], fixed_s: float) -> Range:
    """Every stage slow at once is the p10; it errs to the wide side when there are several."""
    slow = sum(stage.time_s / stage.spread.low for stage in stages) + fixed_s
    usual = sum(stage.time_s for stage in stages) + fixed_s
    fast = sum(stage.time_s / stage.spread.high for stage in stages) + fixed_s
    return Range(n_tokens / slow, n_tokens / usual, n_tokens / fast)
