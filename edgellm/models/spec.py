"""What the selector must know of a model, and nothing else.

`model_spec` makes it from the headers of a model's files. Where a tensor's bytes are counted
follows llama.cpp's own placement: src/llama-arch.cpp `LLM_TENSOR_INFOS`, src/llama-model.cpp
`load_tensors`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import field
from functools import lru_cache
from typing import Final

from edgellm.errors import BadGGUF
from edgellm.models.anatomy.graph_facts import EXPERT_MATRICES, GraphFacts, LayerTensor, graph_facts
from edgellm.models.anatomy.memory_kinds import (
    NO_MEMORY,
    KVKind,
    LayerMemory,
    layer_memory,
    window_tokens,
)
from edgellm.models.anatomy.tensor_types import TypeShare, type_shares
from edgellm.models.gguf.header import GGUFHeader, TensorInfo
from edgellm.models.gguf.values import StringArray
from edgellm.models.quants import BY_ID
from edgellm.values import frozen

# common/speculative.cpp: vocabularies of one family differ in the tokens that pad their end.
MAX_VOCAB_DIFFERENCE: Final = 128


@frozen
class LayerSpec:
    """One repeating block. `weight_bytes` counts its experts too; `expert_bytes` is that part."""

    weight_bytes: int
    kv_kind: KVKind = "full"
    n_head_kv: int = 0
    head_dim_k: int = 0
    head_dim_v: int = 0
    expert_bytes: int = 0
    state_bytes: int = 0  # recurrent state of one sequence (F32)
    tensors: tuple[LayerTensor, ...] = field(default=(), repr=False)
    _matrices: dict[str, int] = field(init=False, default_factory=dict, repr=False, compare=False)

    def __hash__(self) -> int:
        """Cheap: layers are told apart by the dozen, and their tensors are some dozen each."""
        return hash((self.weight_bytes, self.expert_bytes, self.kv_kind, len(self.tensors)))

    @property
    def largest_bytes(self) -> int:
        """The largest tensor: what op_offload copies when the layer is the host's."""
        return max((tensor.n_bytes for tensor in self.tensors), default=self.weight_bytes)

    @property
    def largest_expert_bytes(self) -> int:
        """The same when only its experts are the host's."""
        experts = (tensor.n_bytes for tensor in self.tensors if tensor.is_experts)
        return max(experts, default=0) if self.tensors else self.expert_bytes

    @property
    def expert_matrices(self) -> tuple[str, ...]:
        """Which its experts have, in the order a token passes them; none when nobody told."""
        there = self._bytes_by_matrix()
        return tuple(matrix for matrix in EXPERT_MATRICES if matrix in there)

    def matrices_bytes(self, matrices: Sequence[str]) -> int:
        there = self._bytes_by_matrix()
        return sum(there.get(matrix, 0) for matrix in matrices)

    def _bytes_by_matrix(self) -> dict[str, int]:
        """Added up once: a search asks some hundred times."""
        if not self._matrices:
            for tensor in self.tensors:
                if matrix := tensor.expert_matrix:
                    self._matrices[matrix] = self._matrices.get(matrix, 0) + tensor.n_bytes
        return self._matrices


@frozen
class ModelSpec:
    name: str
    architecture: str  # general.architecture: "llama", "qwen3", ...
    n_ctx_train: int
    n_embd: int
    n_ff: int
    n_head: int
    n_vocab: int
    layers: tuple[LayerSpec, ...]
    input_bytes: int  # token embedding: always on the host
    output_bytes: int  # output norm and head; a tied head is counted here again
    file_bytes: int
    n_params: int
    n_expert: int = 0
    n_expert_used: int = 0
    n_swa: int = 0  # the window of the sliding layers, tokens
    tied_embeddings: bool = False
    quant: str = "?"  # the label of the mix: "Q4_K_M"
    license: str | None = None
    pooling: str | None = None  # embedding models: "mean", "cls", "last", "rank", "none"
    causal: bool = True
    types: tuple[TypeShare, ...] = ()  # () when nobody knows: quality then goes by the label
    imatrix: bool | None = None  # quantized with an importance matrix; None: the header is made up
    rope_bytes: int = 0  # rotary factors, loaded once for each buffer that has layers
    n_draft_layers: int = 0  # the last ones of `layers` (MTP), which take no part without a draft
    draft_bytes: int = 0  # their weights, which are loaded when asked for; 0: the file lacks them
    has_mrope: bool = False  # positions have several axes, for pictures
    tensors: tuple[LayerTensor, ...] = field(default=(), repr=False)  # those outside the blocks
    graph: GraphFacts = field(default=GraphFacts(), repr=False)
    n_merges: int | None = None  # of its tokenizer; None: the file has no vocabulary

    def __hash__(self) -> int:
        """Cheap: a spec is the key of the arithmetic's caches."""
        return hash((self.name, self.quant, self.file_bytes, self.n_params))

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def is_embedding(self) -> bool:
        return self.pooling is not None or not self.causal

    @property
    def weight_bytes(self) -> int:
        layers = sum(layer.weight_bytes for layer in self.layers)
        return self.input_bytes + self.output_bytes + self.rope_bytes + layers


MAX_EXPERTS: Final = 1_024  # LLAMA_MAX_EXPERTS, src/llama-hparams.h
_BLOCK: Final = re.compile(r"(?:enc\.|dec\.)?blk\.(\d+)\.")
_INPUT: Final = ("token_embd.", "position_embd.", "token_types.", "per_layer_token_embd.")
# Not in a block, and yet among the repeating layers: llama.cpp puts them with the first one.
_FIRST_LAYER: Final = ("token_embd_norm.", "per_layer_model_proj.", "per_layer_proj_norm.")
_TIED_ENCODERS: Final = frozenset({"dream", "gemma-embedding", "llada"})  # the others have no head
_DENSE_WITHOUT_EXPERTS: Final = frozenset({"hunyuan-dense", "hunyuan_vl"})  # whatever is stated
_ADAPTER_PART: Final = ".lora_"  # what anatomy/adapters.py may put beside a matrix, and no file
_NOT_MODELS: Final = {
    "adapter": (
        "an adapter (LoRA)",
        "give the file of the model that it was trained for; --lora puts this one beside it",
    ),
    "imatrix": ("an importance matrix", "llama-quantize reads it; give the model's own file"),
}
# Without this tensor llama.cpp takes a file for one whose draft blocks lie elsewhere, and its
# graphs assert that it is there (src/models/*.cpp, graph_mtp).
_DRAFT_JOINT: Final = ".nextn.eh_proj.weight"
# llama.cpp leaves their draft blocks out unless asked (`load_mtp`, src/models/*.cpp).
_DRAFT_SKIPPED: Final = frozenset({
    "bailingmoe3", "cohere2moe", "deepseek2", "deepseek32", "deepseek4", "glm-dsa", "glm4moe",
    "glm5-next", "hy_v3", "mimo2", "nemotron_h", "nemotron_h_moe", "qwen35", "qwen35moe",
    "qwen3next", "step35",
})  # fmt: skip


def model_spec(headers: Sequence[GGUFHeader], name: str, quant: str | None = None) -> ModelSpec:
    """One model from the headers of all its files, the first one first. Raises BadGGUF.

    `quant` is the label in the file's name; it goes before the header's own, which knows no
    "UD-Q4_K_XL".
    """
    first = headers[0]
    arch = _servable_architecture(first)
    tensors = _models_tensors(headers, name)
    memory = layer_memory(first)
    n_expert, n_expert_used = _experts(first, arch, len(memory))
    weights = _Weights(tensors, len(memory), _n_loaded(first, arch, len(memory)), arch)
    return ModelSpec(
        name=name,
        architecture=arch,
        n_ctx_train=first.need_integer(f"{arch}.context_length"),
        n_embd=first.need_integer(f"{arch}.embedding_length"),
        n_ff=_largest(first, f"{arch}.feed_forward_length", len(memory)),
        n_head=_largest(first, f"{arch}.attention.head_count", len(memory)),
        n_vocab=_n_vocab(first, arch, tensors),
        layers=_layers(memory, weights),
        input_bytes=weights.input_bytes,
        output_bytes=weights.output_bytes,
        file_bytes=sum(header.file_bytes for header in headers),
        n_params=sum(tensor.n_elements for tensor in tensors),
        n_expert=n_expert,
        n_expert_used=n_expert_used,
        n_swa=window_tokens(first),
        tied_embeddings=weights.tied,
        quant=quant or first.quant or _commonest_type(tensors),
        license=first.license,
        pooling=first.pooling,
        causal=first.flag(f"{arch}.attention.causal") is not False and arch not in NO_MEMORY,
        types=type_shares(tensors),
        imatrix=_has_imatrix(first),
        rope_bytes=weights.rope_bytes,
        n_draft_layers=_n_draft(first, arch, len(memory)),
        draft_bytes=weights.draft_bytes if weights.has_head_for_drafts else 0,
        has_mrope=f"{arch}.rope.dimension_sections" in first.metadata,
        tensors=tuple(weights.outside),
        graph=graph_facts(first),
        n_merges=_n_merges(first),
    )


def _models_tensors(headers: Sequence[GGUFHeader], name: str) -> list[TensorInfo]:
    """Raises BadGGUF where they are not a model's."""
    tensors = [tensor for header in headers for tensor in header.tensors]
    if not tensors:
        raise BadGGUF(f"{name} has no tensors", hint="a vocabulary alone can't be served")
    if lora := next((one.name for one in tensors if _ADAPTER_PART in one.name), None):
        raise BadGGUF(f"{lora!r} belongs to an adapter (LoRA), not to a model")
    return tensors


def layer_of(tensor_name: str) -> int | None:
    """The block that a tensor is in, if it is in one."""
    return _placed(tensor_name)[0]


def bare(tensor: TensorInfo) -> LayerTensor:
    """As llama.cpp's graphs know it: by its name within its block."""
    return LayerTensor(_placed(tensor.name)[1], tensor.shape, tensor.n_bytes)


@lru_cache(maxsize=8192)  # a model's quantizations have the same names, and so has the next model
def _placed(name: str) -> tuple[int | None, str]:
    """Its block, and what it is called there."""
    block = _BLOCK.match(name)
    return int(block[1]) if block else None, _BLOCK.sub("", name)


def _layers(memory: Sequence[LayerMemory], weights: "_Weights") -> tuple[LayerSpec, ...]:
    return tuple(
        LayerSpec(
            weight_bytes=weights.layer_bytes[il],
            kv_kind=kept.kind,
            n_head_kv=kept.n_head_kv,
            head_dim_k=kept.head_dim_k,
            head_dim_v=kept.head_dim_v,
            expert_bytes=weights.expert_bytes[il],
            state_bytes=kept.state_bytes,
            tensors=weights.of_layer(il),
        )
        for il, kept in enumerate(memory)
    )


class _Weights:
    """The tensors' bytes, added up where llama.cpp would put them."""

    def __init__(
        self, tensors: Iterable[TensorInfo], n_layers: int, n_loaded: int, arch: str
    ) -> None:
        self.layer_bytes = [0] * n_layers
        self.expert_bytes = [0] * n_layers
        self.outside: list[LayerTensor] = []
        self._inside: list[list[LayerTensor]] = [[] for _ in range(n_layers)]
        self._alike: dict[tuple[LayerTensor, ...], tuple[LayerTensor, ...]] = {}
        self.input_bytes = self.output_bytes = self.rope_bytes = embedding_bytes = 0
        self.draft_bytes, self.has_head_for_drafts = 0, False
        has_head = False
        for tensor in tensors:
            il = layer_of(tensor.name)
            if il is not None:
                if il >= n_layers:
                    raise BadGGUF(f"{tensor.name!r} is beyond the model's {n_layers} layers")
                if il >= n_loaded:
                    self.draft_bytes += tensor.n_bytes
                    self.has_head_for_drafts |= tensor.name.endswith(_DRAFT_JOINT)
                    continue
                inside = bare(tensor)
                self.layer_bytes[il] += inside.n_bytes
                self.expert_bytes[il] += inside.n_bytes if inside.is_experts else 0
                self._inside[il].append(inside)
                continue
            self.outside.append(bare(tensor))
            if tensor.name.startswith(_INPUT):
                self.input_bytes += tensor.n_bytes
                embedding_bytes += tensor.n_bytes if tensor.name == "token_embd.weight" else 0
            elif tensor.name.startswith("rope_"):
                self.rope_bytes += tensor.n_bytes
            elif tensor.name.startswith(_FIRST_LAYER) and not arch.startswith("lfm2"):
                self.layer_bytes[0] += tensor.n_bytes
            else:  # lfm2 calls its output norm "token_embd_norm"
                self.output_bytes += tensor.n_bytes
                has_head |= tensor.name == "output.weight"
        self.tied = not has_head and (arch not in NO_MEMORY or arch in _TIED_ENCODERS)
        if self.tied:
            self.output_bytes += embedding_bytes  # loaded a second time, as the head

    def of_layer(self, il: int) -> tuple[LayerTensor, ...]:
        """Layers that are alike share one tuple, so that comparing them costs nothing."""
        tensors = tuple(sorted(self._inside[il], key=lambda tensor: tensor.name))
        return self._alike.setdefault(tensors, tensors)


def _servable_architecture(header: GGUFHeader) -> str:
    kind = header.text("general.type") or "model"
    if kind in _NOT_MODELS:
        what, hint = _NOT_MODELS[kind]
        raise BadGGUF(f"this is {what}, not a model", hint=hint)
    if header.architecture == "clip":
        raise BadGGUF(
            "this is a projector (mmproj), not a model",
            hint="give the language model's file; the projector goes beside it",
        )
    return header.architecture


def _has_imatrix(header: GGUFHeader) -> bool | None:
    """Source: src/llama-quant.cpp, the keys that llama-quantize leaves in a file."""
    if "general.quantization_version" not in header.metadata:
        return None
    return any(key.startswith("quantize.imatrix.") for key in header.metadata)


def _n_draft(header: GGUFHeader, arch: str, n_layers: int) -> int:
    stated = header.integer(f"{arch}.nextn_predict_layers") or 0
    return stated if stated < n_layers else 0


def _n_loaded(header: GGUFHeader, arch: str, n_layers: int) -> int:
    return n_layers - _n_draft(header, arch, n_layers) if arch in _DRAFT_SKIPPED else n_layers


def _largest(header: GGUFHeader, key: str, n_layers: int) -> int:
    return max(header.integers(key, n_layers) or (0,))


def _experts(header: GGUFHeader, arch: str, n_layers: int) -> tuple[int, int]:
    """How many a layer has, and how many of them a token passes at most. What llama.cpp asserts is
    refused here (src/llama-model.cpp load_hparams)."""
    n_expert = header.integer(f"{arch}.expert_count") or 0
    if n_expert <= 1 and arch in _DENSE_WITHOUT_EXPERTS:
        return 0, 0
    n_used = _largest(header, f"{arch}.expert_used_count", n_layers)
    if n_expert > MAX_EXPERTS:
        raise BadGGUF(f"{n_expert:,} experts are beyond the limit of {MAX_EXPERTS:,}")
    if n_used > n_expert:
        raise BadGGUF(f"a token can't pass {n_used:,} experts where there are {n_expert:,}")
    return n_expert, n_used


def _n_vocab(header: GGUFHeader, arch: str, tensors: Iterable[TensorInfo]) -> int:
    if header.tokens is not None:
        return len(header.tokens)
    for tensor in tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) > 1:
            return tensor.shape[1]
    return header.need_integer(f"{arch}.vocab_size")


def _n_merges(header: GGUFHeader) -> int | None:
    if header.tokens is None:
        return None
    merges = header.metadata.get("tokenizer.ggml.merges")
    return len(merges) if isinstance(merges, StringArray) else 0


def _commonest_type(tensors: Iterable[TensorInfo]) -> str:
    """For a file without `general.file_type`: the type that holds the most weights."""
    weights = Counter[int]()
    for tensor in tensors:
        weights[tensor.type_id] += tensor.n_elements
    return BY_ID[weights.most_common(1)[0][0]].name.upper()
