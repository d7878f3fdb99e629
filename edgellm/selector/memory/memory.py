"""How many bytes a model takes, by who needs them and what for: weights, KV cache, compute.

Arithmetic only: no I/O, no clock, no guess. The parts are kept apart because they are wrong for
different reasons: weights come from the header, the cache follows llama.cpp's constructors, the
compute buffer is the peak of ggml's graph allocator (exact where `is_known`).
"""

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.compute import compute_bytes
from edgellm.selector.memory.kv import kv_bytes_of_parts
from edgellm.selector.memory.layout import Layout
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.memory.weights import weight_bytes
from edgellm.selector.oracle import BufferBytes


def needs(
    spec: ModelSpec, shape: ContextShape, layout: Layout, *, exact: bool = False
) -> tuple[BufferBytes, ...]:
    """Each accelerator's, then the host's: what the oracle answers, by arithmetic alone.

    A search does without `exact`, which then costs up to 5 % of a device's sum: see compute_bytes.
    """
    parts = zip(
        weight_bytes(spec, layout),
        kv_bytes_of_parts(spec, shape, layout),
        compute_bytes(spec, shape, layout, exact=exact),
        strict=True,
    )
    return tuple(BufferBytes(*part) for part in parts)
