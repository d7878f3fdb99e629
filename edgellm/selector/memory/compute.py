"""Compute buffers: what llama.cpp reserves for the activations of the largest batch, and outputs.

Where the architecture's graph is known the buffers are replayed and exact (selector/graph); else
they are estimated from the widths of its matrices, with a margin.
"""

from edgellm.models.spec import ModelSpec
from edgellm.selector.graph import replay
from edgellm.selector.memory import estimate
from edgellm.selector.memory.layout import Layout
from edgellm.selector.memory.shape import ContextShape

_F32 = 4


def compute_bytes(
    spec: ModelSpec, shape: ContextShape, layout: Layout, *, exact: bool = False
) -> tuple[int, ...]:
    """Of each accelerator, then of the host, llama.cpp's output buffer there included.

    `exact` is for what is decided; a search that compares hundreds does without it.
    """
    if replay.is_known(spec):
        *each, host = replay.reserved_bytes(spec, shape, layout, exact=exact)
    else:
        *each, host = estimate.reserved_bytes(spec, shape, layout)
    return (*each, host + output_bytes(spec, shape))


def output_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    """What is handed back to us, on the host: logits, and vectors for an embedding model.

    llama.cpp keeps room for logits whether they are asked for or not.
    Source: src/llama-context.cpp output_reserve.
    """
    return _F32 * shape.n_output_rows * (spec.n_vocab + (spec.n_embd if shape.embedding else 0))
