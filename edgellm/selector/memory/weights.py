"""Bytes of weights, by who keeps them. Exact from the header alone.

The embedding always stays with the host. What every layer's rotary embedding reads (`rope_freqs`)
is loaded once for each buffer that has layers. Left out: the padding of a quantized matrix's last
row (CUDA) and of a tensor's end, which is under 0.01 %. The CPU's repacked weights replace file
pages that the kernel may drop again, so weights on the host count once.

Source: llama.cpp src/llama-model.cpp load_tensors, src/llama-model-loader.cpp create_tensor.
"""

from itertools import accumulate

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.layout import Aside, Layout


def weight_bytes(spec: ModelSpec, layout: Layout) -> tuple[int, ...]:
    """Of each accelerator, then of the host.

    Split by rows or by tensors the matrices are shared by proportion; a layer's norms go with
    the layer, which is too little to matter.
    """
    each = [_part_bytes(spec, layout, part) for part in layout.layers]
    n_host = layout.n_host_layers(spec.n_layers)
    experts = _aside_bytes(spec, layout.aside, range(n_host, spec.n_layers))
    layers = sum(layer.weight_bytes for layer in spec.layers[:n_host])
    rope = spec.rope_bytes if n_host else 0
    head = host_weight_bytes(spec, holds_head=n_host > spec.n_layers)
    return (*each, layers + rope + experts + head)


def host_weight_bytes(spec: ModelSpec, *, holds_head: bool) -> int:
    """The embedding, which always stays with the CPU, and the head when nobody else has it.

    A tied head is a second copy only in another device's buffer: on the host llama.cpp finds the
    tensor that is there already. Source: src/llama-model.cpp create_tensor, TENSOR_DUPLICATED.
    """
    if not holds_head:
        return spec.input_bytes
    head = spec.output_bytes - (spec.input_bytes if spec.tied_embeddings else 0)
    return spec.input_bytes + max(head, 0)


def cumulated_layer_bytes(spec: ModelSpec) -> tuple[int, ...]:
    """Weights of the first n layers for n from 0; the last entry counts the head too."""
    each = (*(layer.weight_bytes for layer in spec.layers), spec.output_bytes)
    return tuple(accumulate(each, initial=0))


def _part_bytes(spec: ModelSpec, layout: Layout, part: range) -> int:
    if not part:
        return 0
    blocks = range(part.start, min(part.stop, spec.n_layers))
    total = sum(spec.layers[il].weight_bytes for il in blocks)
    total -= _aside_bytes(spec, layout.aside, blocks)
    head = spec.output_bytes if spec.n_layers in part else 0
    return total + head + (spec.rope_bytes if blocks else 0)


def _aside_bytes(spec: ModelSpec, aside: Aside, blocks: range) -> int:
    """Experts of those layers that are the host's."""
    whole = sum(spec.layers[il].expert_bytes for il in blocks if il < aside.n_layers)
    parts = (part for part in aside.parts if part.layer in blocks)
    return whole + sum(spec.layers[part.layer].matrices_bytes(part.matrices) for part in parts)
