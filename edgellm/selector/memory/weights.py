"""Bytes of weights, by who keeps them. Exact from the header alone.

The embedding always stays with the host. What every layer's rotary embedding reads (`rope_freqs`)
is loaded once for each buffer that has layers. Left out: the padding of a quantized matrix's last
row (CUDA) and of a tensor's end, which is under 0.01 %. The CPU's repacked weights replace file
pages that the kernel may drop again, so weights on the host count once.

Source: llama.cpp src/llama-model.cpp load_tensors, src/llama-model-loader.cpp create_tensor.
"""

from collections.abc import Sequence
from itertools import accumulate

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.layout import Aside, Layout


def weight_bytes(spec: ModelSpec, layout: Layout) -> tuple[int, ...]:
    """Of each accelerator, then of the host.

    Split by rows or by tensors the matrices are shared by proportion; a layer's norms go with
    the layer, which is too little to matter.
    """
    aside = cumulated_aside_bytes(spec, layout.aside)
    return held_bytes(spec, layout, cumulated_layer_bytes(spec), aside)


def held_bytes(
    spec: ModelSpec, layout: Layout, weights: Sequence[int], aside: Sequence[int]
) -> tuple[int, ...]:
    """`weight_bytes` for those who have its two cumulated sums already."""
    n, n_host = spec.n_layers, layout.n_host_layers(spec.n_layers)
    below = min(n_host, n)
    each = []
    for run in layout.layers:
        held = weights[run.stop] - weights[run.start] - (aside[run.stop] - aside[run.start])
        each.append(held + (spec.rope_bytes if run and run.start < n else 0))
    own = weights[below] + aside[n] - aside[below] + (spec.rope_bytes if n_host else 0)
    return (*each, own + host_weight_bytes(spec, holds_head=n_host > n))


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


def cumulated_aside_bytes(spec: ModelSpec, aside: Aside) -> tuple[int, ...]:
    """The same of the experts that are the host's, whoever keeps their layers."""
    each = [
        layer.expert_bytes if il < aside.n_layers else 0 for il, layer in enumerate(spec.layers)
    ]
    for part in aside.parts:
        each[part.layer] += spec.layers[part.layer].matrices_bytes(part.matrices)
    return tuple(accumulate((*each, 0), initial=0))
