"""Compute buffers: what llama.cpp reserves for the activations of the largest batch.

The peak of ggml's graph allocator. Closed forms: exact to half a MiB for dense transformers with
flash attention and few outputs, within some percent for the rest.
"""

from edgellm.models.spec import LayerSpec, ModelSpec
from edgellm.selector.kv import cells
from edgellm.selector.layout import Layout
from edgellm.selector.shape import ContextShape

_F32 = 4
_INPUT_BYTES = 24  # of one token in a batch: its id, position, cell index and sequence

# Rows of n_embd that an MoE block keeps beside two for each expert used.
_MOE_ROWS_USUAL = 5.0
_MOE_ROWS = {"gpt-oss": 7.5}

# How much of a dense layer, or of its experts, is in its largest tensor: ffn_down of a Q4_K_M mix,
# Q6_K beside two Q4_K tensors of the same shape.
_LARGEST_TENSOR_RATIO = 0.42


def compute_bytes(spec: ModelSpec, shape: ContextShape, layout: Layout) -> tuple[int, ...]:
    """Of each accelerator, then of the host, llama.cpp's output buffer there included."""
    n_host = layout.n_host_layers(spec.n_layers)
    n_experts = max(n_host, layout.n_cpu_moe) if layout.op_offload else 0
    each = [
        device_compute_bytes(
            spec, shape, holds_head=spec.n_layers in part, n_accelerators=layout.n_accelerators,
            is_first=i == 0, host_layers=spec.layers[:n_experts] if i == 0 else (),
        )
        for i, part in enumerate(layout.layers)
    ]  # fmt: skip
    host = host_compute_bytes(spec, shape, n_layers=n_host, n_accelerators=layout.n_accelerators)
    return (*each, host)


def largest_tensor_bytes(layer: LayerSpec) -> int:
    """About what op_offload copies to a device for a layer whose weights stay on the host."""
    dense = layer.weight_bytes - layer.expert_bytes
    return int(_LARGEST_TENSOR_RATIO * max(dense, layer.expert_bytes))


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
