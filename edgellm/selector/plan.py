"""The Plan: the one value that crosses from deciding to doing.

The selector makes it, the CLI prints it, the runner obeys it and decides nothing again.
Words are llama.cpp's: `n_ctx` is its total over all sequences, `n_ctx_seq` one conversation's.
"""

from collections.abc import Iterable
from dataclasses import field, replace
from typing import Literal, NamedTuple, Protocol

from edgellm.models.anatomy.projectors import Modality
from edgellm.models.gguf.header import GGUFHeader
from edgellm.models.repo_files import RepoFile
from edgellm.models.spec import ModelSpec
from edgellm.values import frozen

Use = Literal["chat", "batch", "stream", "agent"]
Objective = Literal["speed", "quality", "context", "energy", "balanced"]
KVType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
SplitMode = Literal["layer", "row", "tensor"]  # enum llama_split_mode, llama.h
BytesFrom = Literal["arithmetic", "oracle"]
# Who guesses tokens: a look back, a draft model, the model's own head.
Speculate = Literal["ngram", "draft", "mtp", "off"]


@frozen
class Goal:
    """What the user asked for. `None` leaves the choice to the selector; a number is obeyed."""

    n_ctx_seq: int | None = None  # --ctx, one conversation's
    n_ctx: int | None = None  # -c, over all sequences
    n_parallel: int | None = None
    use: Use = "chat"
    objective: Objective = "balanced"
    reserve_bytes: int | None = None  # left free in every pool
    kv_type_k: KVType | None = None
    kv_type_v: KVType | None = None
    n_gpu_layers: int | None = None
    n_ubatch: int | None = None
    n_threads: int | None = None
    flash_attention: bool | None = None
    kv_unified: bool | None = None
    prefix_ram_bytes: int | None = None  # host memory for what leaves the KV cells; 0: it stays
    n_turns: int = 1  # models that share the machine, of which several may be in memory at once
    others_bytes: int = 0  # of the host's memory, by the plans of those others
    prefix_disk: str | None = None  # a folder where it outlives the server; None: it doesn't
    prefix_disk_bytes: int = 8 << 30
    n_cpu_moe: int | None = None  # -ncmoe: the experts of the first n layers stay with the CPU
    tensor_split: tuple[float, ...] | None = None  # -ts, over the accelerators in their order
    split_mode: SplitMode | None = None  # -sm
    op_offload: bool | None = None
    itl_target_s: float | None = None  # None: the workload's
    min_tok_s: float | None = None  # one stream, at p50; what is slower is rejected
    min_ctx_seq: int | None = None  # one conversation's; what holds less is rejected
    batch_invariant: bool = False  # the same request, the same text, whoever runs beside it
    max_watts: float | None = None  # the boards' limits together; devices are left out to keep it
    allow_disk: bool = False  # weights that no memory holds may be read from disk for each token
    speculate: Speculate = "ngram"
    tuned: tuple[str, ...] = ()  # fields of this goal that were measured, not asked for
    # Flags that nobody typed: a table of the settings says them, and is told as such.
    tabled: frozenset[str] = field(default=frozenset(), compare=False)


@frozen
class Candidate:
    """One quantization that could be served: a local file, or one of a repository's.

    `headers` are its files', the first one first; the oracle asks llama.cpp about them. Empty
    when only arithmetic is to be asked.
    """

    name: str  # the model's, as clients will call it
    file: str  # the first file's name, or its path when it lies on this disk
    quant: str  # "Q4_K_M"
    spec: ModelSpec
    file_bytes: int  # all shards together
    source: str = ""  # "hf.co/org/repo", or the folder; for people to read
    headers: tuple[GGUFHeader, ...] = field(default=(), repr=False, compare=False)
    projector: RepoFile | None = None  # for pictures or sound; lies beside it
    projector_bytes: int = 0  # that it takes of the first accelerator, or of the host
    modalities: tuple[Modality, ...] | None = None  # that it takes; None: its header wasn't read
    draft: "DraftFile | None" = None  # a smaller model that guesses for it, or its own head


def candidate_of(candidates: Iterable[Candidate], file: str) -> Candidate:
    """The one whose file it is, as a plan names it; one of them has to be."""
    return next(one for one in candidates if one.file == file)


@frozen
class DraftFile:
    """On this disk. A model's own head lies in the model's file, and `path` is empty."""

    path: str
    spec: ModelSpec
    is_head: bool = False


@frozen
class Range:
    """A prediction is a range, never a point: one in ten lies below p10, one in ten above p90."""

    p10: float
    p50: float
    p90: float


class ExpertPart(NamedTuple):
    """One layer's experts cut in two: these matrices are the host's, the others its device's."""

    layer: int
    matrices: tuple[str, ...]  # "gate", "down": ffn_gate_exps, ffn_down_exps


@frozen
class Share:
    """What one device carries. Layer n_layers is the output head, as in llama.cpp."""

    device_id: str
    pool_id: str
    layers: tuple[int, ...]
    weight_bytes: int
    kv_bytes: int
    compute_bytes: int
    overhead_bytes: int = 0  # what llama.cpp doesn't count: the driver's context
    expert_layers: tuple[int, ...] = ()  # layers of other devices whose experts are kept here
    expert_parts: tuple[ExpertPart, ...] = ()  # and those of which only a part is

    @property
    def computes(self) -> bool:
        """Whether it has more to do than to look up embeddings."""
        return bool(self.layers or self.expert_layers or self.expert_parts)

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.kv_bytes + self.compute_bytes + self.overhead_bytes


@frozen
class Placement:
    """Who keeps and computes what, in llama.cpp's words. `shares`: accelerators in llama.cpp's
    order, the host last."""

    shares: tuple[Share, ...]
    n_gpu_layers: int
    tensor_split: tuple[float, ...] = ()
    n_cpu_moe: int = 0  # the experts of the first n layers are the host's
    split_mode: SplitMode = "layer"
    op_offload: bool = (
        True  # long prompts are computed by the accelerators, whoever has the weights
    )
    no_host: bool = False  # host weights outside pinned memory, so that the CPU may repack them
    disk_bytes: int = 0  # of the host's weights that memory can't hold: read again for each token

    @property
    def device_ids(self) -> tuple[str, ...]:
        return tuple(share.device_id for share in self.shares[:-1])

    @property
    def expert_parts(self) -> tuple[ExpertPart, ...]:
        return tuple(part for share in self.shares for part in share.expert_parts)

    @property
    def has_experts_aside(self) -> bool:
        """Some of the devices' layers have experts, or parts of them, on the host."""
        return bool(self.n_cpu_moe or self.expert_parts)

    @property
    def total_bytes(self) -> int:
        return sum(share.total_bytes for share in self.shares)

    @property
    def bytes_by_pool(self) -> dict[str, int]:
        taken: dict[str, int] = {}
        for share in self.shares:
            taken[share.pool_id] = taken.get(share.pool_id, 0) + share.total_bytes
        return taken


@frozen
class Rejected:
    """A plan that was not chosen, and the constraint that bound it."""

    quant: str
    n_ctx_seq: int
    kv_type: str
    binding: str  # "needs 9.1 GiB on host, 7.6 GiB are free"
    decode_tok_s: Range | None = None


@frozen
class Alternative:
    """A plan on the Pareto front: it fits, and no other is better in everything."""

    quant: str
    n_ctx_seq: int
    n_parallel: int
    kv_type: str
    placement: str  # "all layers on 2 devices", "experts of 20 layers on the CPU"
    total_bytes: int
    kld: float  # weights and cache together
    decode_tok_s: Range
    prefill_tok_s: Range


@frozen
class Layout:
    """How the cells of a context lie and are looked at, and what llama.cpp is asked for because of
    it."""

    kv_unified: bool
    flash_attention: bool | None
    n_ctx: int
    n_seq_max: int
    n_outputs_max: int
    n_ubatch: int

    @property
    def attends_plainly(self) -> bool:
        """Without flash attention."""
        return self.flash_attention is False


@frozen
class Plan:
    model: str  # the name that clients use
    file: str  # the first file's name, or its path when it lies on this disk
    quant: str  # "Q4_K_M"
    placement: Placement
    n_ctx: int
    n_ctx_seq: int
    n_parallel: int
    n_seq_max: int
    kv_type_k: KVType
    kv_type_v: KVType
    kv_unified: bool
    n_batch: int
    n_ubatch: int
    n_outputs_max: int
    n_threads: int
    flash_attention: bool | None  # None: llama.cpp's own "auto"
    swa_full: bool
    devices: tuple[str, ...] = ()  # ggml names of the accelerators that take part; () = CPU only
    device_addresses: tuple[str | None, ...] = ()  # of each, as ggml tells it; () = nobody knows
    other_layouts: tuple[Layout, ...] = ()  # that it may change to while it is idle; see laid_out
    layout_bytes: int = 0  # that the largest of these takes of the host, beyond this one
    embedding: bool = False
    pooling: str | None = None  # of an embedding model; None: what its file says
    batch_invariant: bool = False  # each sequence is computed in a call of its own
    n_rs_seq: int = 0
    speculate: Speculate = "off"
    prefix_ram_bytes: int = 0  # host memory for conversations that leave the KV cells
    prefix_disk: str | None = None  # a folder where they outlive the worker
    prefix_disk_bytes: int = 0
    projector: str | None = None  # the file beside it through which it sees or hears
    projector_bytes: int = 0  # that it takes; among its device's overhead
    modalities: tuple[Modality, ...] | None = None  # that it takes; None: nobody knows yet
    draft: str | None = None  # the file of the draft model that is loaded beside it
    draft_bytes: int = 0  # that it, or the model's own head, takes; among the overhead, too
    n_replicas: int = 1  # of this plan side by side, on disjoint devices; for throughput
    itl_target_s: float | None = None  # bounds the prompt chunk that goes beside running streams
    decode_tok_s: Range | None = None  # one stream
    batch_tok_s: Range | None = None  # n_parallel streams together
    prefill_tok_s: Range | None = None
    ttft_s: Range | None = None  # the workload's typical prompt, alone
    power_w: float | None = None  # the limits of the boards that take part
    bytes_from: BytesFrom = "arithmetic"
    reasons: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    pareto: tuple[Alternative, ...] = ()

    @property
    def shares(self) -> tuple[Share, ...]:
        return self.placement.shares

    @property
    def total_bytes(self) -> int:
        return self.placement.total_bytes

    @property
    def most_bytes_by_pool(self) -> dict[str, int]:
        """With what is kept of past conversations, once it has all that it may have, and in the
        layout that takes the most."""
        taken, host_id = self.placement.bytes_by_pool, self.shares[-1].pool_id
        return taken | {host_id: taken[host_id] + self.prefix_ram_bytes + self.layout_bytes}


class _HasLayout(Protocol):
    """A Plan, or a Setting that may become one."""

    @property
    def kv_unified(self) -> bool: ...
    @property
    def flash_attention(self) -> bool | None: ...
    @property
    def n_ctx(self) -> int: ...
    @property
    def n_seq_max(self) -> int: ...
    @property
    def n_outputs_max(self) -> int: ...
    @property
    def n_ubatch(self) -> int: ...


def layout_of(context: _HasLayout) -> Layout:
    """Its own one."""
    return Layout(
        context.kv_unified,
        context.flash_attention,
        context.n_ctx,
        context.n_seq_max,
        context.n_outputs_max,
        context.n_ubatch,
    )


def laid_out(plan: Plan, there: Layout) -> Plan:
    """The same in one of its other layouts, from which it may come back."""
    others = tuple(one for one in plan.other_layouts if one != there)
    return replace(
        plan,
        kv_unified=there.kv_unified,
        flash_attention=there.flash_attention,
        n_ctx=there.n_ctx,
        n_seq_max=there.n_seq_max,
        n_outputs_max=there.n_outputs_max,
        n_ubatch=there.n_ubatch,
        other_layouts=(*others, layout_of(plan)),
    )
