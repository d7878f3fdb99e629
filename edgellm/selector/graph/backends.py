"""What a backend adds to a tensor's own bytes, and what it offers: as far as memory goes.

Sources, by backend: `get_alignment`, `get_alloc_size`, `get_props` and `device_offload_op` of
ggml-cuda.cu (ROCm and MUSA are built from it), ggml-metal.cpp, ggml-vulkan.cpp, ggml-sycl.cpp,
ggml-cann.cpp. Left out: scratch of SYCL's and CANN's flash attention.
"""

from typing import Final

from edgellm.probe.hardware import Backend
from edgellm.selector.graph import tensors as g
from edgellm.selector.graph.tensors import F16, F32, Tensor
from edgellm.values import frozen

_ROW_PADDING: Final = 512  # MATRIX_ROW_PADDING, weights
_F16_BYTES: Final = 2


@frozen
class BackendRules:
    alignment: int = 64  # Vulkan's is 16 to 256, by driver
    max_chunk_bytes: int = 1 << 62
    pads_rows: bool = False  # the last row of a quantized matrix, up to 512 weights
    halves_cache: bool = False  # flash attention works on an F16 copy of a layer's cache
    is_metal: bool = False
    pipelines: bool = True  # asynchronous, with events

    def alloc_bytes(self, tensor: Tensor) -> int:
        n_bytes = tensor.n_bytes
        if tensor.type.block > 1 and self.pads_rows and (short := -tensor.ne[0] % _ROW_PADDING):
            n_bytes += -(-short // tensor.type.block) * tensor.type.block_bytes
        if tensor.op == "flash_attn" and self.halves_cache:
            n_bytes += _f16_cache_bytes(tensor, n_bytes)
        if self.is_metal:
            n_bytes += _metal_bytes(tensor)
        return n_bytes


CPU: Final = BackendRules(alignment=32)
_CUDA: Final = BackendRules(alignment=128, pads_rows=True, halves_cache=True)
_RULES: Final[dict[Backend, BackendRules]] = {
    "cuda": _CUDA,
    "rocm": _CUDA,
    "musa": _CUDA,
    "metal": BackendRules(alignment=32, is_metal=True),
    "vulkan": BackendRules(max_chunk_bytes=1 << 30),
    "sycl": BackendRules(alignment=128, pads_rows=True),
    "cann": BackendRules(alignment=128, pads_rows=True, pipelines=False),
    "opencl": BackendRules(alignment=128, pipelines=False),
}


def rules_of(backend: Backend) -> BackendRules:
    return _RULES.get(backend, BackendRules())


def _f16_cache_bytes(tensor: Tensor, n_bytes: int) -> int:
    """Source: ggml-cuda/fattn.cu ggml_cuda_flash_attn_ext_get_alloc_size. Not for a row or two,
    where a kernel reads the cache as it is."""
    q, k, v = tensor.src[:3]
    if q.ne[1] <= 2:
        return 0
    total = n_bytes
    if k.type is not F16:
        total = g.padded(total, 128) + _F16_BYTES * g.elements(k)
    if v.type is not F16 and not _is_part_of(v, k):
        total = g.padded(total, 128) + _F16_BYTES * g.elements(v)
    return total - n_bytes


def _metal_bytes(tensor: Tensor) -> int:
    """Source: ggml_backend_metal_buffer_type_get_alloc_size."""
    match tensor.op:
        case "mul_mat_id":
            n_expert, n_tokens = tensor.src[0].ne[2], tensor.src[2].ne[1]
            return 4 * n_expert * (1 + n_tokens) + 8 + 4 * 256
        case "flash_attn":
            return _metal_attention_bytes(tensor)
        case "argsort":
            return tensor.n_bytes
        case _:
            return 0


def _metal_attention_bytes(tensor: Tensor) -> int:
    """The last chunk padded, a map of masked blocks, partial results, the cache in F16.

    Source: ggml-metal-ops.cpp ggml_metal_op_flash_attn_ext_extra_*.
    """
    q, k, v, mask = tensor.src[:4]
    n_rows, is_part = q.ne[1], _is_part_of(v, k)
    in_f16 = k.type not in (F32, F16) and n_rows >= 32
    chunk = _row_bytes(k, in_f16) * k.ne[2] * k.ne[3]
    chunk += _row_bytes(k if is_part else v, in_f16) * v.ne[2] * v.ne[3]
    chunk += _F16_BYTES * mask.ne[1] * mask.ne[2] * mask.ne[3]
    few = n_rows < 20 and q.ne[0] % 32 == 0
    high, wide = (1, 32) if few else (8, 64)
    blocks = -(-n_rows // high) * -(-mask.ne[0] // wide) * mask.ne[2] * mask.ne[3]
    partial = 4 * min(n_rows, 32) * q.ne[2] * q.ne[3] * 32 * (v.ne[0] + 2)
    copy = g.padded(_F16_BYTES * g.elements(k), 16)
    if not is_part:
        copy += g.padded(_F16_BYTES * g.elements(v), 16)
    return 64 * chunk + g.padded(blocks, 32) + partial + copy


def _row_bytes(cache: Tensor, in_f16: bool) -> int:
    """Of one cell: all of its heads lie in a row."""
    if in_f16:
        return _F16_BYTES * cache.ne[0]
    return cache.ne[0] * cache.ne[2] * cache.type.block_bytes // cache.type.block


def _is_part_of(v: Tensor, k: Tensor) -> bool:
    """A latent cache's values are the front of its keys."""
    return v.root is not None and v.root is (k.root or k)
