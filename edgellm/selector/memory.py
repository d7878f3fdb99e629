"""How many bytes a model takes, by what they are for: weights, KV cache, compute, output.

Arithmetic only: no I/O, no clock, no guess. The parts are kept apart because they are wrong for
different reasons. Weights come from the header and are exact. The KV cache follows llama.cpp's
constructors and is exact. The compute buffer is the peak of ggml's graph allocator: closed forms
are exact to half a MiB for dense transformers with flash attention and few outputs, and within
some percent for the rest (MoE other than Qwen3's, MLA, hybrids).

Two things are left out on purpose. The CPU's repacked weights replace file pages that the kernel
may drop again, so weights on the host count once. llama.cpp pads quantized rows in some device
buffers, which is under 0.01 %.
"""

from dataclasses import dataclass

from edgellm.models.quants import BY_NAME
from edgellm.models.spec import LayerSpec, ModelSpec
from edgellm.selector.plan import KVType

_F32 = 4
_INPUT_BYTES = 24  # of one token in a batch: its id, position, cell index and sequence

# Rows of n_embd that an MoE block keeps beside two for each expert used.
_MOE_ROWS_USUAL = 5.0
_MOE_ROWS = {"gpt-oss": 7.5}

# How much of a dense layer, or of its experts, is in its largest tensor: ffn_down of a Q4_K_M mix,
# Q6_K beside two Q4_K tensors of the same shape.
_LARGEST_TENSOR_RATIO = 0.42


@dataclass(frozen=True, slots=True)
class ContextShape:
    """The llama_context_params that decide how much memory a context takes."""

    n_ctx: int
    n_seq_max: int
    n_ubatch: int
    n_outputs_max: int
    kv_type_k: KVType = "f16"
    kv_type_v: KVType = "f16"
    kv_unified: bool = True
    flash_attention: bool = True
    swa_full: bool = False
    n_rs_seq: int = 0
    embedding: bool = False

    @property
    def n_streams(self) -> int:
        return 1 if self.kv_unified else self.n_seq_max

    @property
    def cells_per_stream(self) -> int:
        """Source: llama.cpp src/llama-context.cpp, the constructor's GGML_PAD calls."""
        return pad256(pad256(self.n_ctx) // self.n_streams)

    @property
    def n_tokens(self) -> int:
        """The largest batch that a graph is reserved for."""
        return min(self.n_ctx, self.n_ubatch)

    @property
    def kv_quantized(self) -> bool:
        return any(BY_NAME[kind].block > 1 for kind in (self.kv_type_k, self.kv_type_v))


def pad256(n: int) -> int:
    return (n + 255) // 256 * 256


# ---- weights


def host_weight_bytes(spec: ModelSpec, *, holds_head: bool) -> int:
    """The embedding, which always stays with the CPU, and the head when nobody else has it.

    A tied head is a second copy only in another device's buffer: on the host llama.cpp finds the
    tensor that is there already. Source: src/llama-model.cpp create_tensor, TENSOR_DUPLICATED.
    """
    if not holds_head:
        return spec.input_bytes
    head = spec.output_bytes - (spec.input_bytes if spec.tied_embeddings else 0)
    return spec.input_bytes + max(head, 0)


def largest_tensor_bytes(layer: LayerSpec) -> int:
    """About what op_offload copies to a device for a layer whose weights stay on the host."""
    dense = layer.weight_bytes - layer.expert_bytes
    return int(_LARGEST_TENSOR_RATIO * max(dense, layer.expert_bytes))


# ---- KV cache


def cells(spec: ModelSpec, layer: LayerSpec, shape: ContextShape) -> int:
    """Cells of one stream that a layer keeps.

    Source: src/llama-kv-cache-iswa.cpp, size_swa.
    """
    if layer.kv_kind != "sliding" or shape.swa_full:
        return shape.cells_per_stream
    windows = spec.n_swa * (shape.n_seq_max if shape.kv_unified else 1)
    return pad256(min(shape.cells_per_stream, windows + shape.n_ubatch))


def cell_bytes(layer: LayerSpec, shape: ContextShape) -> int:
    """K and V of one token in one layer; a latent cache (MLA) has no V.

    Source: src/llama-kv-cache.cpp, the constructor's ggml_new_tensor_3d calls.
    """
    k = _row_bytes(shape.kv_type_k, layer.n_head_kv * layer.head_dim_k)
    if layer.kv_kind == "latent":
        return k
    return k + _row_bytes(shape.kv_type_v, layer.n_head_kv * layer.head_dim_v)


def layer_kv_bytes(spec: ModelSpec, layer: LayerSpec, shape: ContextShape) -> int:
    """All that one layer remembers, over all sequences."""
    match layer.kv_kind:
        case "none":
            return 0
        case "recurrent":  # F32, a row for each sequence and each rollback point
            return layer.state_bytes * shape.n_seq_max * (1 + shape.n_rs_seq)
        case "full" | "sliding" | "latent":
            return shape.n_streams * cells(spec, layer, shape) * cell_bytes(layer, shape)


def kv_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    return sum(layer_kv_bytes_each(spec, shape))


def layer_kv_bytes_each(spec: ModelSpec, shape: ContextShape) -> tuple[int, ...]:
    """`layer_kv_bytes` of every layer; most layers are alike, so each kind is counted once."""
    known: dict[tuple[object, ...], int] = {}
    each = []
    for layer in spec.layers:
        kind = (
            layer.kv_kind, layer.n_head_kv, layer.head_dim_k, layer.head_dim_v, layer.state_bytes
        )  # fmt: skip
        if kind not in known:
            known[kind] = layer_kv_bytes(spec, layer, shape)
        each.append(known[kind])
    return tuple(each)


def _row_bytes(kind: KVType, width: int) -> int:
    quant = BY_NAME[kind]
    return width * quant.block_bytes // quant.block


# ---- compute buffers


def mask_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    """The attention mask: F16 with flash attention, else F32; one more for sliding layers."""
    element = 2 if shape.flash_attention else _F32
    kinds = {layer.kv_kind: layer for layer in spec.layers}
    n_cells = shape.n_tokens if set(kinds) == {"none"} else shape.cells_per_stream
    if set(kinds) == {"recurrent"}:
        n_cells = 0
    if "sliding" in kinds and not shape.swa_full:
        n_cells += cells(spec, kinds["sliding"], shape)
    return element * shape.n_tokens * n_cells


def activation_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    """One F32 row of n_embd for each token of a micro-batch."""
    return _F32 * shape.n_tokens * spec.n_embd


def feed_forward_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    """The peak inside a feed-forward block.

        dense  12 × ub × (n_ff + n_embd)
        MoE     4 × ub × (2 × n_expert_used + 5) × n_embd

    Exact for Llama-70B, Gemma-27B, Qwen3-8B and Qwen3-MoE with few outputs; measured through
    llama.cpp's own graph_reserve. gpt-oss adds the biases of its experts; a pure state-space
    model has no n_ff, and its inner width is about four times n_embd all told.
    """
    if spec.n_expert:
        rows = 2 * spec.n_expert_used + _MOE_ROWS.get(spec.architecture, _MOE_ROWS_USUAL)
        return int(_F32 * shape.n_tokens * rows * spec.n_embd)
    n_ff = spec.n_ff or 4 * spec.n_embd
    return 12 * shape.n_tokens * (n_ff + spec.n_embd)


def attention_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    """The peak inside an attention block, the mask aside: what is left of it by flash attention,
    or the whole score matrix, 4 × ub × n_kv × n_head, without."""
    attention = [layer for layer in spec.layers if layer.kv_kind not in ("none", "recurrent")]
    if not attention:
        return 0
    q = spec.n_head * max(layer.head_dim_k for layer in attention)
    kv = max(layer.n_head_kv * layer.head_dim_k for layer in attention)
    if not shape.flash_attention:
        scores = _F32 * shape.n_tokens * shape.cells_per_stream * spec.n_head
        return scores + _F32 * shape.n_tokens * (3 * spec.n_embd + 2 * q + 2 * kv)
    if any(layer.kv_kind == "latent" for layer in attention):
        return 11 * shape.n_tokens * q  # DeepSeek-V3: 396 MiB, llama.cpp reserves 378
    return 8 * shape.n_tokens * (spec.n_embd + q + kv)


def logits_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    """The peak at the output head. Small, because the runner sets n_outputs_max to n_seq_max."""
    if shape.embedding:
        return 0
    n_outputs = min(shape.n_tokens, shape.n_outputs_max)
    rows = 3 if shape.kv_quantized or not shape.flash_attention else 2
    return _F32 * n_outputs * (spec.n_vocab + rows * spec.n_embd)


def output_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    """What is handed back to us, on the host. Source: src/llama-context.cpp output_reserve."""
    row = spec.n_embd if shape.embedding else spec.n_vocab
    return _F32 * row * max(shape.n_outputs_max, shape.n_seq_max)


def host_compute_bytes(
    spec: ModelSpec, shape: ContextShape, *, n_layers: int, n_accelerators: int
) -> int:
    """The CPU's compute buffer, llama.cpp's inputs and its output buffer.

    With everything on one accelerator the host keeps the inputs: mask and two activations. With
    several, llama.cpp works as a pipeline and keeps four sets of them.
    """
    row, mask = activation_bytes(spec, shape), mask_bytes(spec, shape)
    inputs = mask + 2 * row if n_accelerators < 2 else 4 * (mask + row) + row
    graph = 0
    if n_layers:
        block = max(feed_forward_bytes(spec, shape) + row, attention_bytes(spec, shape))
        graph = block + mask + _INPUT_BYTES * shape.n_tokens
    if n_accelerators == 0:
        inputs = logits_bytes(spec, shape)
    return max(graph, inputs) + output_bytes(spec, shape)


def device_compute_bytes(
    spec: ModelSpec,
    shape: ContextShape,
    *,
    holds_head: bool,
    n_accelerators: int,
    is_first: bool,
    host_layers: tuple[LayerSpec, ...] = (),
) -> int:
    """An accelerator's compute buffer.

    `host_layers` are those left to the CPU: for a prompt, op_offload copies their weights over, a
    tensor at a time. Over several accelerators the inputs exist four times, and from the second
    one on the activations that arrive too (Llama-70B on two: 408 and 472 MiB).
    """
    mask, row = mask_bytes(spec, shape), activation_bytes(spec, shape)
    graph = max(feed_forward_bytes(spec, shape), attention_bytes(spec, shape))
    inputs = mask
    if n_accelerators > 1:
        inputs = 4 * (mask + (row if is_first else 2 * row))
    copy = max((largest_tensor_bytes(layer) for layer in host_layers), default=0)
    logits = logits_bytes(spec, shape) if holds_head else 0
    return max(graph + inputs, logits) + copy
