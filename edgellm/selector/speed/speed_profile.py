"""What is known of how fast devices are: factors of families, and what this machine has measured.

The factors are fits over published benchmarks (profiles/speed.toml, scripts/fit_speed.py). They are
kept by family, not by device: a card nobody has benchmarked behaves like its generation.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from math import inf

from edgellm.probe.hardware import Backend, Cpu, Device
from edgellm.units import MIB
from edgellm.values import frozen

Parts = tuple[tuple[str, float], ...]  # types of tensors, each with its part of the weights


@frozen
class Spread:
    """How far below and above its p50 a prediction reaches: p10 = low × p50, p90 = high × p50."""

    low: float
    high: float

    def wider(self, other: "Spread") -> "Spread":
        return Spread(self.low * other.low, self.high * other.high)


@frozen
class BackendFamily:
    """Devices that behave alike under one backend. The first family that matches a device is its.

    A step takes `layer_s` for each block, whatever is in it: launching its kernels, and waiting for
    the small ones. Bytes are read at an efficiency × bandwidth, multiplications done at a ratio of
    the peak. Experts are many small matrices, and have a pair of their own.
    """

    name: str
    backend: Backend
    layer_s: float  # one token at a time
    batch_layer_s: float  # of several streams at once: the kernels that fuse take one token only
    prompt_layer_s: float  # of a piece of a prompt
    efficiency: float  # of the bandwidth, for weights that all tokens use
    expert_efficiency: float
    memory_efficiency: float  # for the KV cache
    unpack_ratio: float  # of the vector units' peak, for dot products with weights of q4_k
    flops_ratio: float  # of the peak
    expert_flops_ratio: float
    attention_flops_ratio: float
    flops_per_byte: float  # the peak over the bandwidth, for a device whose peak nobody tells
    unknown_bandwidth_bytes_s: float  # assumed, with a wide range, when nobody knows better
    overhead_bytes: int  # the driver's context, outside llama.cpp's accounting
    spread: Spread
    prefill_spread: Spread
    moe_layer_ratio: float = 1.0  # a block with experts over one without
    recurrent_layer_ratio: float = 1.0
    no_flash_ratio: float = 1.0  # attention without flash attention over attention with it
    # the same of the vector units, where the peak is no measure of them and nobody tells theirs
    vector_flops_per_byte: float | None = None
    most_read_bytes_s: float = inf  # of weights, however fast the memory
    n_apart: int = 1  # tokens of a step up to which each one's experts are read for it alone
    type_costs: Mapping[str, float] = field(default_factory=dict)  # of unpacking, beside q4_k
    prefill_costs: Mapping[str, float] = field(default_factory=dict)  # of multiplying by them
    architectures: tuple[str, ...] = ()  # as they begin: "sm_89", "gfx11"
    name_contains: tuple[str, ...] = ()  # goes where a device has no architecture, or the row none
    _known: dict[tuple[Parts, bool], float] = field(
        init=False, default_factory=dict, repr=False, compare=False
    )

    def cost(self, parts: Parts, *, multiplied: bool = False) -> float:
        """Of a weight of such a mix beside one of q4_k: to unpack it, or to multiply by it."""
        key = parts, multiplied
        if key not in self._known:
            costs = self.prefill_costs if multiplied else self.type_costs
            self._known[key] = _mean_cost(parts, costs)
        return self._known[key]

    def matches(self, device: Device) -> bool:
        if device.backend != self.backend:
            return False
        if self.architectures and device.architecture:
            return device.architecture.startswith(self.architectures)
        name = device.name.lower()
        is_any = not self.architectures and not self.name_contains
        return is_any or any(part.lower() in name for part in self.name_contains)


def _mean_cost(parts: Parts, costs: Mapping[str, float]) -> float:
    return sum(part * costs.get(name, 1.0) for name, part in parts) if parts else 1.0


@frozen
class Era:
    """What older builds of llama.cpp took for the same, on one backend."""

    backend: Backend
    before_build: int  # "b4500" and later is the next era
    layer_ratio: float
    flops_ratio: float  # of today's, in prompts
    moe_layer_ratio: float = 1.0  # on top, for blocks with experts
    batch_layer_ratio: float = 1.0  # for several streams: CUDA replayed no recorded graph then
    most_read_bytes_s: float = inf
    n_apart: int | None = None  # None: as today

    def applied(self, family: BackendFamily) -> BackendFamily:
        if family.backend != self.backend:
            return family
        return replace(
            family,
            layer_s=family.layer_s * self.layer_ratio,
            batch_layer_s=family.batch_layer_s * self.batch_layer_ratio,
            prompt_layer_s=family.prompt_layer_s * self.layer_ratio,
            most_read_bytes_s=min(family.most_read_bytes_s, self.most_read_bytes_s),
            n_apart=self.n_apart or family.n_apart,
            moe_layer_ratio=family.moe_layer_ratio * self.moe_layer_ratio,
            flops_ratio=family.flops_ratio * self.flops_ratio,
            expert_flops_ratio=family.expert_flops_ratio * self.flops_ratio,
        )


@frozen
class CpuKernels:
    """What one core does, by its instruction sets. The first row that is all there wins."""

    isa: tuple[str, ...]
    decode_weights_s: float  # of q4_k, out of its cache
    flops_s: float  # in prompts, of q4_k
    plain: "PlainAttention | None" = None  # None: as the family's no_flash_ratio says
    prefill_costs: Mapping[str, float] | None = None  # beside q4_k; None: the family's
    _known: dict[Parts, float] = field(init=False, default_factory=dict, repr=False, compare=False)

    def matches(self, cpu: Cpu) -> bool:
        return set(self.isa) <= set(cpu.isa)

    def multiplying_cost(self, parts: Parts, family: BackendFamily) -> float:
        """Of a weight of such a mix beside one of q4_k, in prompts: which types llama.cpp repacks,
        and what the others cost, is another matter on each instruction set."""
        if self.prefill_costs is None:
            return family.cost(parts, multiplied=True)
        if parts not in self._known:
            self._known[parts] = _mean_cost(parts, self.prefill_costs)
        return self._known[parts]


@frozen
class PlainAttention:
    """How decoding without flash attention differs from decoding with it, where that was measured.

    With it each row goes through its own cells alone, one after the other, and passes over others'.
    Without it all rows of a pool are multiplied with all of its cells in use, as one matrix.
    Source: ggml/src/ggml-cpu/ops.cpp ggml_compute_forward_flash_attn_ext_f16_one_chunk; of several
    rows without it ggml/src/ggml-cpu/llamafile/sgemm.cpp.
    """

    row_ratio: float  # one row's cells, over the same with flash attention
    flops_s: float  # of a core, for several rows at once
    masked_ratio: float  # with flash attention: a cell that is passed over, over one that is not


@frozen
class CpuSpeed:
    kernels: tuple[CpuKernels, ...]
    thread_layer_s: float  # a block's barriers, for each thread that meets at them
    attention_ratio: float  # of q4_k's dot products in decoding: each head reads its keys anew

    def kernels_of(self, cpu: Cpu) -> CpuKernels:
        """The last row matches every CPU."""
        return next((row for row in self.kernels if row.matches(cpu)), self.kernels[-1])


LEAST_MEASURED_BYTES = 64 * MIB  # of weights: of a smaller model fixed costs are all that is seen


@frozen
class Calibration:
    """Measured over predicted on this machine, in tokens a second; None: not measured.

    `decode_spread` and `prefill_spread` are what single measurements lay apart, as a ratio to the
    median: 0.03 is three per cent. `overhead_bytes` is what a driver's context was seen to take.
    `bandwidth_bytes_s` is the memory's that was predicted with: a ratio is over that and no other.
    """

    device: str  # Device.name
    backend: Backend
    build: str | None = None  # of llama.cpp: "0.3.36"
    architecture: str | None = None  # of the model; None: of any
    weight_type: str | None = None  # that most of its bytes are kept in: "q4_k"; None: of any
    decode_ratio: float | None = None
    decode_spread: float = 0.0
    n_decode: int = 0
    prefill_ratio: float | None = None
    prefill_spread: float = 0.0
    overhead_bytes: int | None = None
    bandwidth_bytes_s: float | None = None


@frozen
class SpeedProfile:
    families: tuple[BackendFamily, ...]
    cpu: CpuSpeed
    unknown_spread: Spread  # on top of a family's, when the bandwidth is a guess
    split_spread: Spread  # the same, where devices work side by side on one layer
    hybrid_spread: Spread  # the same, where the CPU and an accelerator take turns
    expert_spread: Spread  # the same, for a mixture of experts that decodes
    expert_prefill_spread: Spread  # and that reads a prompt
    pipeline_spread: Spread  # the same, for a prompt through several accelerators
    copy_spread: Spread  # of what goes over a link
    step_s: float  # scheduling and sampling around a step, whatever the model
    hop_s: float  # from one device to the next, beside the activation's bytes
    expert_hop_s: float  # the same, there and back, for a block whose experts are the CPU's
    sync_s: float  # devices side by side waiting for each other, twice a layer
    link_bytes_s: float  # to a device whose link nobody knows
    link_efficiency: float  # of a link's own rate
    copy_bytes_s: float  # the most for weights that are copied out of mapped pages
    disk_bytes_s: float  # weights paged in from the file
    pipeline_efficiency: float  # of what accelerators in a row could gain on a long prompt
    eras: tuple[Era, ...] = ()
    build: str | None = None  # the llama.cpp that will run, as calibrations name it
    calibrations: tuple[Calibration, ...] = ()
    _known: dict[tuple[str | None, ...], BackendFamily] = field(
        init=False, default_factory=dict, repr=False, compare=False
    )

    def family(self, device: Device) -> BackendFamily:
        """The last row matches every backend that none before it knows."""
        key = device.backend, device.architecture, device.name
        if key not in self._known:
            matching = (row for row in self.families if row.matches(device))
            self._known[key] = next(matching, self.families[-1])
        return self._known[key]

    def of_build(self, number: int) -> "SpeedProfile":
        """As that build of llama.cpp was: the first era of each backend that it precedes."""
        eras = {era.backend: era for era in reversed(self.eras) if number < era.before_build}
        families = tuple(
            eras[row.backend].applied(row) if row.backend in eras else row for row in self.families
        )
        return replace(self, families=families, eras=())

    def overhead_bytes(self, device: Device) -> int:
        """Of a driver's context on that device: as measured here, else as its family's."""
        measured = (
            row.overhead_bytes
            for row in self.calibrations
            if (row.device, row.backend) == (device.name, device.backend)
        )
        known = next((n_bytes for n_bytes in measured if n_bytes is not None), None)
        return self.family(device).overhead_bytes if known is None else known

    def bandwidth_bytes_s(self, device: Device) -> float | None:
        """Of the memory that the device's ratios are over; None: it has none yet. What is measured
        on a busy machine is less than on an idle one, and another boot measures again."""
        rates = (
            row.bandwidth_bytes_s
            for row in self.calibrations
            if (row.device, row.backend) == (device.name, device.backend)
        )
        return next((rate for rate in rates if rate is not None), None)

    def calibration(
        self, device: Device, architecture: str, weight_type: str | None, *, prompt: bool
    ) -> Calibration | None:
        """The nearest: of this build, and there of this type of weights and this architecture, of
        this type, of this architecture; else of the same device."""
        same = [
            row
            for row in self.calibrations
            if (row.device, row.backend) == (device.name, device.backend)
            and (row.prefill_ratio if prompt else row.decode_ratio) is not None
        ]

        def nearness(row: Calibration) -> tuple[bool, bool, bool, int]:
            is_type, is_alike = row.weight_type == weight_type, row.architecture == architecture
            return row.build == self.build, is_type, is_alike, row.n_decode

        return max(same, key=nearness, default=None)
