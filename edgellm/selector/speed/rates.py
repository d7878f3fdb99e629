"""How long a device takes for a piece of work, from its family's factors.

    blocks × layer_s
    + reading the weights, or unpacking them: they overlap, so the longer of the two counts,
      rounded where they meet
    + reading the cache, on the CPU the dot products with it where those take longer; in a pool also
      those with others' cells (PlainAttention)
    + multiplications of the tokens after the first: for up to eight by the vector units, beside
      the first one's (llama.cpp ggml/src/ggml-cuda/mmvq.cuh MMVQ_MAX_BATCH_SIZE), for more by the
      matrix units, each kind at its ratio of the peak

The last three add up, where one might expect the longest alone: over batches of 1 to 32 streams and
prompts of 512 to 32768 tokens sums were within some per cent (llama.cpp benches/dgx-spark).

No step with more tokens is a shorter one. Matrix kernels compute whole tiles of tokens, so few
tokens cost them as many do; that is not counted, and would make the first step that they take
seem shorter than the last one before it. So it takes as long at least.
"""

from dataclasses import replace
from math import inf

from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Device, Hardware
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.speed.speed_profile import (
    BackendFamily,
    CpuKernels,
    Parts,
    PlainAttention,
    SpeedProfile,
)
from edgellm.selector.speed.work import (
    Step,
    Work,
    dense_mix,
    expert_mix,
    of_fewer,
    reading_ratio,
)
from edgellm.values import frozen

_OVERLAP_EXPONENT = 4.0  # 1: one after the other; infinity: the longer one alone
_VECTOR_TOKENS = 8
# Dot products of one more token over unpacking the weights and the first one's. Placed between 7B
# Q2_K on an RTX 3090, 1 to 8 tokens (llama.cpp PR 5434), and 8B Q4_0 on an RTX 4090, 10 (PR 15131).
_COLUMN_RATIO = 0.3


@frozen
class Rates:
    """One device's; of the CPU, of all cores that we may use."""

    family: BackendFamily
    layer_s: float  # for one token
    batch_layer_s: float
    prompt_layer_s: float
    bytes_s: float  # of its memory
    flops_s: float  # at its peak; for the CPU what its kernels reach with q4_k
    weights_s: float  # of q4_k, unpacked and multiplied by one token
    attention_flops_s: float = inf  # of one token with its cache; accelerators wait for the bytes
    plain: PlainAttention | None = None  # the CPU's; its flops_s of all cores
    kernels: CpuKernels | None = None  # the CPU's

    def time_s(self, spec: ModelSpec, work: Work, step: Step, shape: ContextShape) -> float:
        slow = 1.0 if shape.flash_attention else self.family.no_flash_ratio
        return (
            self._blocks_s(work, step)
            + self._matrices_s(spec, work, step.n_tokens)
            + self.cache_s(work, step, shape)
            + work.attention_flops * slow / (self.family.attention_flops_ratio * self.flops_s)
        )

    def cache_s(self, work: Work, step: Step, shape: ContextShape) -> float:
        """What the sequences have in common in a pool isn't known here: they count as strangers."""
        slow = 1.0 if shape.flash_attention else self.family.no_flash_ratio
        read_s = work.memory_bytes / (self.family.memory_efficiency * self.bytes_s)
        look_s = work.memory_flops / self.attention_flops_s
        if self.plain is None or step.n_tokens > step.n_seqs:
            return slow * _overlapped(read_s, look_s)
        n_pooled = step.n_seqs if shape.kv_unified else 1
        if shape.flash_attention:
            return _overlapped(read_s, look_s * (1 + self.plain.masked_ratio * (n_pooled - 1)))
        look_s *= self.plain.row_ratio
        if n_pooled > 1:
            look_s = _overlapped(look_s, n_pooled * work.memory_flops / self.plain.flops_s)
        return _overlapped(read_s, look_s)

    def _blocks_s(self, work: Work, step: Step) -> float:
        family = self.family
        layer_s = self.prompt_layer_s
        if step.n_tokens == step.n_seqs:
            layer_s = self.layer_s if step.n_tokens == 1 else self.batch_layer_s
        extra = (family.recurrent_layer_ratio - 1) * work.recurrent_blocks
        return layer_s * (work.blocks + family.moe_layer_ratio * work.moe_blocks + extra)

    def _matrices_s(self, spec: ModelSpec, work: Work, n_tokens: int) -> float:
        """With matrix kernels for the experts no less than of the longest step without."""
        n_apart = self.family.n_apart
        time_s = self._once_s(spec, work, n_tokens) + self._again_s(spec, work, n_tokens)
        if not work.expert_bytes or n_tokens <= n_apart:
            return time_s
        before = of_fewer(spec, work, n_tokens, n_apart)
        before_s = self._once_s(spec, before, n_apart) + self._again_s(spec, before, n_apart)
        return max(time_s, before_s)

    def _once_s(self, spec: ModelSpec, work: Work, n_tokens: int) -> float:
        """Reading and unpacking overlap."""
        family, dense, experts = self.family, dense_mix(spec), expert_mix(spec)
        expert_bytes = work.expert_bytes
        if expert_bytes and n_tokens > 1:
            expert_bytes *= reading_ratio(spec, n_tokens, family.n_apart)
        read_s = work.dense_bytes / self._read_bytes_s(
            family.efficiency
        ) + expert_bytes / self._read_bytes_s(family.expert_efficiency)
        unpack_s = (
            work.dense_bytes / dense.bytes_a_weight * family.cost(dense.parts)
            + expert_bytes / experts.bytes_a_weight * family.cost(experts.parts)
        ) / self.weights_s
        return _overlapped(read_s, unpack_s)

    def _read_bytes_s(self, efficiency: float) -> float:
        return min(efficiency * self.bytes_s, self.family.most_read_bytes_s)

    def _again_s(self, spec: ModelSpec, work: Work, n_tokens: int) -> float:
        """Multiplying by the tokens after the first."""
        n_more = n_tokens - 1
        if not n_more:
            return 0.0
        if n_tokens <= self.family.n_apart:
            work = work._replace(expert_flops=0.0)  # in unpacking each token's own
        matrix_s, vector_s = self._by_matrix_s(spec, work), self._by_vector_s(spec, work)
        if self.family.backend == "cpu":
            return matrix_s
        if n_more < _VECTOR_TOKENS:
            return vector_s
        return max(matrix_s, vector_s * (_VECTOR_TOKENS - 1) / n_more)

    def _by_matrix_s(self, spec: ModelSpec, work: Work) -> float:
        family = self.family
        dense = self._multiplying_cost(dense_mix(spec).parts)
        experts = self._multiplying_cost(expert_mix(spec).parts)
        return (
            work.dense_flops * dense / family.flops_ratio
            + work.expert_flops * experts / family.expert_flops_ratio
        ) / self.flops_s

    def _multiplying_cost(self, parts: Parts) -> float:
        if self.kernels is not None:
            return self.kernels.multiplying_cost(parts, self.family)
        return self.family.cost(parts, multiplied=True)

    def _by_vector_s(self, spec: ModelSpec, work: Work) -> float:
        family = self.family
        n_weights = (
            work.dense_flops * family.cost(dense_mix(spec).parts)
            + work.expert_flops * family.cost(expert_mix(spec).parts)
        ) / 2
        return _COLUMN_RATIO * n_weights / self.weights_s


def rates_of(device: Device, hardware: Hardware, profile: SpeedProfile) -> Rates:
    family = profile.family(device)
    told = hardware.pool(device.pool_id).bandwidth_bytes_s
    known = profile.bandwidth_bytes_s(device) or told
    bytes_s = known or family.unknown_bandwidth_bytes_s
    if device.backend == "cpu":
        return _cpu_rates(family, hardware, profile, bytes_s)
    flops_s = device.fp16_flops_s or family.flops_per_byte * bytes_s
    weights_s = family.unpack_ratio * _vector_flops_s(device, family, flops_s, bytes_s) / 2
    layers = family.layer_s, family.batch_layer_s, family.prompt_layer_s
    return Rates(family, *layers, bytes_s, flops_s, weights_s)


def _vector_flops_s(device: Device, family: BackendFamily, flops_s: float, bytes_s: float) -> float:
    """By the die where it is known: the same one is sold with faster and slower memory."""
    if device.vector_flops_s is not None:
        return device.vector_flops_s
    if family.vector_flops_per_byte is not None:
        return family.vector_flops_per_byte * bytes_s
    return flops_s


def _cpu_rates(
    family: BackendFamily, hardware: Hardware, profile: SpeedProfile, bytes_s: float
) -> Rates:
    cpu, kernels = profile.cpu, profile.cpu.kernels_of(hardware.cpu)
    n_cores = max(1, hardware.cpu.n_physical_cores)
    layer_s = family.layer_s + cpu.thread_layer_s * n_cores
    weights_s = kernels.decode_weights_s * n_cores
    attention_flops_s = 2 * weights_s * cpu.attention_ratio
    flops_s = kernels.flops_s * n_cores
    layers = layer_s, layer_s, layer_s
    plain = kernels.plain and replace(kernels.plain, flops_s=kernels.plain.flops_s * n_cores)
    return Rates(family, *layers, bytes_s, flops_s, weights_s, attention_flops_s, plain, kernels)


def _overlapped(a_s: float, b_s: float) -> float:
    """The longer of two, and a little more where they are about equal."""
    longer, shorter = max(a_s, b_s), min(a_s, b_s)
    if not longer:
        return 0.0
    return float(longer * (1 + (shorter / longer) ** _OVERLAP_EXPONENT) ** (1 / _OVERLAP_EXPONENT))
