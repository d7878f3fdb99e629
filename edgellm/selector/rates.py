"""How long a device takes for a piece of work, from its family's factors.

    blocks × layer_s
    + reading the weights, or unpacking them: they overlap, so the longer of the two counts,
      rounded where they meet
    + reading the cache
    + multiplications of the tokens after the first, each kind at its ratio of the peak

The last three add up, where one might expect the longest alone: over batches of 1 to 32 streams and
prompts of 512 to 32768 tokens sums were within some per cent (llama.cpp benches/dgx-spark).
"""

from dataclasses import dataclass

from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Device, Hardware
from edgellm.selector.speed_profile import BackendFamily, CpuSpeed, SpeedProfile
from edgellm.selector.work import Step, Work, dense_mix, expert_mix

_OVERLAP_EXPONENT = 4.0  # 1: one after the other; infinity: the longer one alone


@dataclass(frozen=True, slots=True)
class Accelerator:
    family: BackendFamily
    bandwidth_bytes_s: float
    flops_s: float  # its peak

    def time_s(self, spec: ModelSpec, work: Work, step: Step, *, flash: bool) -> float:
        unpacked = self.family.unpack_ratio * self.flops_s / 2
        return self._blocks_s(work, step) + _work_s(
            self.family, spec, work, self.bandwidth_bytes_s, self.flops_s, unpacked, flash=flash
        )

    def _blocks_s(self, work: Work, step: Step) -> float:
        family = self.family
        layer_s = family.layer_s if step.n_tokens == 1 else family.batch_layer_s
        extra = (family.recurrent_layer_ratio - 1) * work.recurrent_blocks
        return layer_s * (work.blocks + family.moe_layer_ratio * work.moe_blocks + extra)


@dataclass(frozen=True, slots=True)
class Processor:
    """The CPU: all cores that we may use."""

    family: BackendFamily
    cpu: CpuSpeed
    bandwidth_bytes_s: float
    n_cores: int
    decode_weights_s: float  # of q4_k, all cores together
    flops_s: float

    def time_s(self, spec: ModelSpec, work: Work, step: Step, *, flash: bool) -> float:
        family = self.family
        blocks = work.blocks + family.moe_layer_ratio * work.moe_blocks
        blocks += (family.recurrent_layer_ratio - 1) * work.recurrent_blocks
        layer_s = family.layer_s + self.cpu.thread_layer_s * self.n_cores
        return blocks * layer_s + _work_s(
            family, spec, work, self.bandwidth_bytes_s, self.flops_s, self.decode_weights_s,
            flash=flash,
        )  # fmt: skip


Rates = Accelerator | Processor


def rates_of(device: Device, hardware: Hardware, profile: SpeedProfile) -> Rates:
    family = profile.family(device)
    known = hardware.pool(device.pool_id).bandwidth_bytes_s
    bandwidth = known or family.unknown_bandwidth_bytes_s
    if device.backend != "cpu":
        flops_s = device.fp16_flops_s or family.flops_per_byte * bandwidth
        return Accelerator(family, bandwidth, flops_s)
    kernels = profile.cpu.kernels_of(hardware.cpu)
    n_cores = max(1, hardware.cpu.n_physical_cores)
    return Processor(
        family,
        profile.cpu,
        bandwidth,
        n_cores,
        kernels.decode_weights_s * n_cores,
        kernels.flops_s * n_cores,
    )


def _work_s(
    family: BackendFamily,
    spec: ModelSpec,
    work: Work,
    bytes_s: float,
    flops_s: float,
    weights_s: float,
    *,
    flash: bool,
) -> float:
    """All but the blocks' own cost. `weights_s`: of q4_k, unpacked for one token."""
    dense, experts = dense_mix(spec), expert_mix(spec)
    read_s = (
        work.dense_bytes / family.efficiency + work.expert_bytes / family.expert_efficiency
    ) / bytes_s
    unpack_s = (
        work.dense_bytes / dense.bytes_a_weight * dense.cost(family.type_costs)
        + work.expert_bytes / experts.bytes_a_weight * experts.cost(family.type_costs)
    ) / weights_s
    slow = 1.0 if flash else family.no_flash_ratio
    memory_s = work.memory_bytes * slow / (family.memory_efficiency * bytes_s)
    multiply_s = (
        work.dense_flops * dense.cost(family.prefill_costs) / family.flops_ratio
        + work.expert_flops * experts.cost(family.prefill_costs) / family.expert_flops_ratio
        + work.attention_flops * slow / family.attention_flops_ratio
    ) / flops_s
    return _overlapped(read_s, unpack_s) + memory_s + multiply_s


def _overlapped(a_s: float, b_s: float) -> float:
    longer, shorter = max(a_s, b_s), min(a_s, b_s)
    if not longer:
        return 0.0
    return float(longer * (1 + (shorter / longer) ** _OVERLAP_EXPONENT) ** (1 / _OVERLAP_EXPONENT))
