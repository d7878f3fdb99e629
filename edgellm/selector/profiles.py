"""The numbers that the selector is given and did not compute, as values.

They live in profiles/*.toml, each with its source and date; edgellm/profiles.py reads them. The
selector itself opens no file, so a test can hand it any world it likes.
"""

from dataclasses import dataclass

from edgellm.models.tensor_types import TensorClass
from edgellm.probe.hardware import Backend, Cpu, Device
from edgellm.selector.plan import KVType, Use


@dataclass(frozen=True, slots=True)
class Spread:
    """How far below and above its p50 a prediction reaches: p10 = low × p50, p90 = high × p50."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class BackendFamily:
    """Devices that behave alike under one backend. The first family that matches a device is its.

    Decode takes `layer_s` for each layer plus the bytes read / (`efficiency` × bandwidth); prefill
    reaches `flops_per_byte` × bandwidth. MoE graphs have more and smaller kernels, so a pair of
    their own.
    """

    name: str
    backend: Backend
    layer_s: float
    efficiency: float
    flops_per_byte: float
    unknown_bandwidth_bytes_s: float  # assumed, with a wide range, when nobody knows better
    overhead_bytes: int  # the driver's context, outside llama.cpp's accounting
    spread: Spread
    prefill_spread: Spread
    moe_layer_s: float | None = None
    moe_efficiency: float | None = None
    name_contains: tuple[str, ...] = ()  # () matches every device of the backend

    def matches(self, device: Device) -> bool:
        names = self.name_contains
        return device.backend == self.backend and (
            not names or any(name.lower() in device.name.lower() for name in names)
        )


@dataclass(frozen=True, slots=True)
class CpuPrefill:
    """What one core reaches in prompt kernels. The first row whose ISA is there wins."""

    isa: tuple[str, ...]  # all of them
    flops_s_per_core: float

    def matches(self, cpu: Cpu) -> bool:
        return set(self.isa) <= set(cpu.isa)


@dataclass(frozen=True, slots=True)
class SpeedProfile:
    families: tuple[BackendFamily, ...]
    cpu_prefill: tuple[CpuPrefill, ...]
    unknown_spread: Spread  # on top of a family's, when the bandwidth is a guess
    step_s: float  # scheduling and sampling around a step, whatever the model
    hop_s: float  # one activation from a device to the next, for a token
    link_bytes_s: float  # weights copied from the host to a device
    moe_prefill_ratio: float  # of the flops that a dense model reaches

    def family(self, device: Device) -> BackendFamily:
        """The last row matches every backend that none before it knows."""
        return next((row for row in self.families if row.matches(device)), self.families[-1])


@dataclass(frozen=True, slots=True)
class QuantQuality:
    """Mean KL divergence from the unquantized model, of one mix of tensor types."""

    label: str
    bits_per_weight: float
    kld: float


@dataclass(frozen=True, slots=True)
class TypeQuality:
    """KLD of a model whose every matrix is of this type, made with an importance matrix."""

    type: str  # "q4_k"
    kld: float
    plain_ratio: float = 1.0  # how many times as much it loses without one


@dataclass(frozen=True, slots=True)
class ClassWeight:
    """How much of a model's loss comes from the tensors of a class, all types being equal."""

    tensor_class: TensorClass
    weight: float


@dataclass(frozen=True, slots=True)
class NativeType:
    """A type that the models of an architecture were trained in: it loses nothing."""

    architecture: str
    type: str


@dataclass(frozen=True, slots=True)
class KVQuality:
    type: KVType
    kld_k: float
    kld_v: float


@dataclass(frozen=True, slots=True)
class QualityProfile:
    quants: tuple[QuantQuality, ...]
    kv: tuple[KVQuality, ...]
    acceptable_kld: float  # worse than this is taken only when nothing better fits
    types: tuple[TypeQuality, ...] = ()
    classes: tuple[ClassWeight, ...] = ()
    native: tuple[NativeType, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """What `--use` changes."""

    use: Use
    n_parallel: int
    n_ctx_seq: int  # wished for, one conversation's
    n_ctx_seq_min: int  # below this the use makes no sense
    n_ubatch: int
    kv_unified: bool
    n_prompt: int  # new tokens of a typical request, what is cached aside
    n_answer: int
    ttft_target_s: float
    itl_target_s: float
    decode_target_tok_s: float  # one stream; faster than this is worth little
    why: str


@dataclass(frozen=True, slots=True)
class Profiles:
    speed: SpeedProfile
    quality: QualityProfile
    workloads: tuple[Workload, ...]

    def workload(self, use: Use) -> Workload:
        return next(row for row in self.workloads if row.use == use)
