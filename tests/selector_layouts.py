"""Contexts and layouts for the tests of memory."""

from dataclasses import replace
from itertools import pairwise

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.kv import cumulated_kv_bytes
from edgellm.selector.memory.layout import HOST_ONLY, Aside, Layout
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import ExpertPart


def shape(n_ctx: int = 32768, **changes) -> ContextShape:
    return replace(ContextShape(n_ctx, n_seq_max=1, n_ubatch=512, n_outputs_max=1), **changes)


def on_devices(
    spec: ModelSpec, n_devices: int = 1, *, n_host: int = 0, backend="cuda", n_cpu_moe: int = 0,
    parts: tuple[ExpertPart, ...] = (), **changes,
) -> Layout:  # fmt: skip
    """Layers from `n_host` on and the head, over so many equal devices."""
    changes["aside"] = Aside(n_cpu_moe, parts)
    if not n_devices:
        return replace(HOST_ONLY, **changes)
    n = spec.n_layers + 1 - n_host
    bounds = [n_host + n * i // n_devices for i in range(n_devices + 1)]
    layers = tuple(range(low, high) for low, high in pairwise(bounds))
    return Layout((backend,) * n_devices, layers, **changes)


def kv_bytes(spec: ModelSpec, shape: ContextShape) -> int:
    """All that a context remembers, wherever it lies."""
    return cumulated_kv_bytes(spec, shape)[-1]
