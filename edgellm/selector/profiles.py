"""The numbers that the selector is given and did not compute, as values.

They live in profiles/*.toml, each with its source and date; edgellm/profiles.py reads them. The
selector itself opens no file, so a test can hand it any world it likes.
"""

from dataclasses import field

from edgellm.models.anatomy.tensor_types import TensorClass
from edgellm.probe.known.limits import Table as BackendTable
from edgellm.selector.plan import KVType, Use
from edgellm.selector.speed.speed_profile import SpeedProfile
from edgellm.values import frozen


@frozen
class QuantQuality:
    """Mean KL divergence from the unquantized model, of one mix of tensor types."""

    label: str
    bits_per_weight: float
    kld: float


@frozen
class TypeQuality:
    """KLD of a model whose every matrix is of this type, made with an importance matrix."""

    type: str  # "q4_k"
    kld: float
    plain_ratio: float = 1.0  # how many times as much it loses without one


@frozen
class ClassWeight:
    """How much of a model's loss comes from the tensors of a class, all types being equal."""

    tensor_class: TensorClass
    weight: float


@frozen
class NativeType:
    """A type that the models of an architecture were trained in: it loses nothing."""

    architecture: str
    type: str


@frozen
class KVQuality:
    type: KVType
    kld_k: float
    kld_v: float


@frozen
class QualityProfile:
    quants: tuple[QuantQuality, ...]
    kv: tuple[KVQuality, ...]
    acceptable_kld: float  # worse than this is taken only when nothing better fits
    types: tuple[TypeQuality, ...] = ()
    classes: tuple[ClassWeight, ...] = ()
    native: tuple[NativeType, ...] = ()


@frozen
class Workload:
    """What `--use` changes."""

    use: Use
    n_parallel: int
    n_ctx_seq: int  # wished for, one conversation's
    n_ctx_seq_min: int  # below this the use makes no sense
    n_ubatch: int
    kv_unified: bool
    kv_unified_if_idle_stays: bool  # where what is idle can't leave the cells, too
    kv_unified_if_slower: bool  # where all together write faster with streams of their own, too
    n_prompt: int  # new tokens of a typical request, what is cached aside
    n_answer: int
    ttft_target_s: float
    itl_target_s: float
    decode_target_tok_s: float  # one stream; faster than this is worth little
    why: str


@frozen
class Profiles:
    speed: SpeedProfile
    quality: QualityProfile
    workloads: tuple[Workload, ...]
    backends: BackendTable = field(default_factory=BackendTable)  # what each can't do

    def workload(self, use: Use) -> Workload:
        return next(row for row in self.workloads if row.use == use)
