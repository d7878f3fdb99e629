"""Where llama.cpp's flash attention has a kernel for a model's heads.

Left to itself llama.cpp turns it off on every device when one lacks the kernel
(src/llama-context.cpp resolve_fused_ops): the scores of a whole micro-batch are then kept, and V
can't be quantized. With a quantized V it stays on, and the CPU computes what the device can't.
"""

from collections.abc import Iterable
from functools import lru_cache

from edgellm.models.spec import LayerSpec, ModelSpec
from edgellm.probe.hardware import Backend
from edgellm.selector.speed.kernels import has_cuda_kernel

_CUDA: frozenset[Backend] = frozenset({"cuda", "rocm", "musa"})
_LATENT_V = {576: 512, 320: 256}  # a latent cache's V is the first part of its K


def runs_on(spec: ModelSpec, backends: Iterable[Backend]) -> bool:
    """Whether every layer's heads have a kernel on each of these backends."""
    return not _CUDA & set(backends) or _all_have_cuda_kernels(spec)


@lru_cache(maxsize=512)
def _all_have_cuda_kernels(spec: ModelSpec) -> bool:
    return all(_has_cuda_kernel(spec, layer) for layer in spec.layers if layer.n_head_kv)


def _has_cuda_kernel(spec: ModelSpec, layer: LayerSpec) -> bool:
    if layer.kv_kind == "recurrent":
        return True
    size_v = layer.head_dim_v
    if layer.kv_kind == "latent":
        size_v = _LATENT_V.get(layer.head_dim_k, 0)
    return has_cuda_kernel(layer.head_dim_k, size_v, spec.n_head // layer.n_head_kv)
