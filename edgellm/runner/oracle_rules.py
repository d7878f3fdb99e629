"""What the backends of llama.cpp ask for beyond a tensor's own bytes, and what they offer to do.

Each backend rounds, pads and keeps scratch space in its own way (`get_alloc_size`), and takes the
products of a long prompt over from the CPU by its own rule (`offload_op`). Those rules are read
off the sources named at each class, so that a device which isn't here can be asked as if it were.

Left out: which operations a backend lacks, flash attention on CUDA aside; the order in which Metal
and Vulkan run a graph (`graph_optimize`), which can lengthen a tensor's life.
"""

from ctypes import CDLL, c_int, c_int64, c_size_t, c_void_p
from typing import Final

from edgellm.models.quants import BY_ID
from edgellm.runner.oracle_structs import Tensor
from edgellm.selector.flash import has_cuda_kernel

_OFFLOAD_FROM: Final = 32  # rows; GGML_OP_OFFLOAD_MIN_BATCH
_F16: Final = 1  # GGML_TYPE_F16
_F16_BYTES: Final = 2
_ROW_PADDING: Final = 512  # MATRIX_ROW_PADDING of CUDA, SYCL and CANN, in weights
_MAX_BYTES: Final = (1 << 63) - 1
_MOST_OPS: Final = 101  # GGML_OP_COUNT: ggml_op_name reads past its table

_int_at: Final = c_int.from_address
_OP: Final = Tensor.op.offset


class View:
    """A tensor in C's memory, read field by field: copying the struct would cost ten times that."""

    __slots__ = ("at",)

    def __init__(self, at: int) -> None:
        self.at = at

    @property
    def type(self) -> int:
        return c_int.from_address(self.at).value

    @property
    def op(self) -> int:
        return c_int.from_address(self.at + Tensor.op.offset).value

    def ne(self, dim: int) -> int:
        return c_int64.from_address(self.at + Tensor.ne.offset + 8 * dim).value

    def nb(self, dim: int) -> int:
        return c_size_t.from_address(self.at + Tensor.nb.offset + 8 * dim).value

    def src(self, number: int) -> "View | None":
        at = c_void_p.from_address(self.at + Tensor.src.offset + 8 * number).value
        return View(at) if at else None

    @property
    def view(self) -> tuple[int, int]:
        """Which tensor this is a view of (0: none), and where in it."""
        source = c_void_p.from_address(self.at + Tensor.view_src.offset).value or 0
        return source, c_size_t.from_address(self.at + Tensor.view_offs.offset).value

    @property
    def n_elements(self) -> int:
        return self.ne(0) * self.ne(1) * self.ne(2) * self.ne(3)

    @property
    def n_rows(self) -> int:
        return self.ne(1) * self.ne(2) * self.ne(3)


def op_number(base: CDLL, name: bytes) -> int:
    """Raises LookupError when this ggml has no such operation."""
    for number in range(_MOST_OPS):
        if base.ggml_op_name(number) == name:
            return number
    raise LookupError(name)


class Rules:
    """A backend that pads nothing: ggml-vulkan.cpp, and what nobody has read yet.

    The methods take a tensor's address, and look at its operation before anything else: a graph
    asks them tens of thousands of times, nearly always about an operation of no interest.
    """

    alignment = 64  # minStorageBufferOffsetAlignment: 16 to 256, by driver
    max_bytes = 1 << 30  # suballocation_block_size; a larger buffer comes in pieces
    pinned_host = True  # weights left to the CPU, and its scratch, lie in memory it can reach
    is_async = True  # both are needed to run several devices as a pipeline
    events = True
    pads = False  # whether alloc_bytes differs from ggml_nbytes at all
    refuses = False  # whether `supports` ever says no

    def __init__(self, base: CDLL) -> None:
        self.base, self.n_bytes = base, base.ggml_nbytes
        self.get_rows, self.mul_mat, self.mul_mat_id, self.rope = (
            op_number(base, name) for name in (b"GET_ROWS", b"MUL_MAT", b"MUL_MAT_ID", b"ROPE")
        )
        self.attention = op_number(base, b"FLASH_ATTN_EXT")

    def alloc_bytes(self, at: int) -> int:
        return int(self.n_bytes(at))

    def supports(self, at: int) -> bool:
        return True

    def offloads(self, at: int) -> bool:
        """Source: ggml-vulkan.cpp, ggml-cuda.cu `get_op_batch_size`."""
        tensor = View(at)
        if tensor.op == self.get_rows:
            return False
        if tensor.op == self.mul_mat:
            return tensor.ne(1) >= _OFFLOAD_FROM
        if tensor.op in (self.mul_mat_id, self.rope):
            return tensor.ne(2) >= _OFFLOAD_FROM
        return tensor.n_rows >= _OFFLOAD_FROM


class PaddedRules(Rules):
    """ggml-cann.cpp, ggml-sycl.cpp: the last row of a quantized matrix is padded.

    SYCL's scratch for flash attention and CANN's own matrix layout are not followed.
    """

    alignment = 128
    max_bytes = _MAX_BYTES
    pads = True

    def __init__(self, base: CDLL) -> None:
        super().__init__(base)
        self._quantized = {number for number in BY_ID if base.ggml_is_quantized(number)}

    def alloc_bytes(self, at: int) -> int:
        n_bytes: int = self.n_bytes(at)
        if _int_at(at).value in self._quantized:
            tensor = View(at)
            if short := -tensor.ne(0) % _ROW_PADDING:
                n_bytes += self.base.ggml_row_size(tensor.type, short)
        return n_bytes


class CannRules(PaddedRules):
    is_async = False


class CudaRules(PaddedRules):
    """ggml-cuda, which is ROCm's and MUSA's code too.

    Flash attention computes in F16: a cache of another type is first copied, one layer at a time
    (fattn.cu `ggml_cuda_flash_attn_ext_get_alloc_size`). Not so for one or two rows; then the
    vector kernel reads the cache as it is.
    """

    refuses = True

    def alloc_bytes(self, at: int) -> int:
        if _int_at(at + _OP).value != self.attention:
            return super().alloc_bytes(at)
        n_bytes: int = self.n_bytes(at)
        q, k, v = (View(at).src(number) for number in range(3))
        if q is None or k is None or v is None or q.ne(1) <= 2:
            return n_bytes
        if k.type != _F16:
            n_bytes = _pad(n_bytes, 128) + _F16_BYTES * k.n_elements
        if v.type != _F16 and not _is_view_of_k(k, v):
            n_bytes = _pad(n_bytes, 128) + _F16_BYTES * v.n_elements
        return n_bytes

    def supports(self, at: int) -> bool:
        if _int_at(at + _OP).value != self.attention:
            return True
        q, k, v = (View(at).src(number) for number in range(3))
        if q is None or k is None or v is None:
            return False
        return has_cuda_kernel(k.ne(0), v.ne(0), q.ne(2) // k.ne(2))


class MetalRules(Rules):
    """ggml-metal.cpp `ggml_backend_metal_buffer_type_get_alloc_size`, ggml-metal-ops.cpp.

    The F16 copy of a layer's cache is reserved whatever the cache's type. Left out: the index
    lists of sparse attention.
    """

    alignment = 32
    max_bytes = _MAX_BYTES
    pinned_host = False  # its memory is the host's
    pads = True

    def __init__(self, base: CDLL) -> None:
        super().__init__(base)
        self._doubled = {op_number(base, name) for name in (b"ARGSORT", b"CUMSUM")}
        self._top_k = op_number(base, b"TOP_K")

    def alloc_bytes(self, at: int) -> int:
        n_bytes: int = self.n_bytes(at)
        op = _int_at(at + _OP).value
        if op == self.mul_mat_id:
            return n_bytes + _metal_expert_bytes(View(at))
        if op == self.attention:
            return n_bytes + _metal_attention_bytes(View(at))
        if op in self._doubled:
            return 2 * n_bytes
        if op == self._top_k and (source := View(at).src(0)) is not None:
            return 2 * 4 * source.n_elements
        return n_bytes

    def offloads(self, at: int) -> bool:
        return _int_at(at + _OP).value in (self.mul_mat, self.mul_mat_id) and super().offloads(at)


_RULES: Final[dict[str, type[Rules]]] = {
    "cuda": CudaRules, "rocm": CudaRules, "musa": CudaRules, "metal": MetalRules,
    "sycl": PaddedRules, "cann": CannRules,
}  # fmt: skip


def rules(backend: str, base: CDLL) -> Rules:
    """`backend` as probe.hardware names it; one that is not known here pads nothing."""
    return _RULES.get(backend, Rules)(base)


def _metal_expert_bytes(tensor: View) -> int:
    """Which tokens each expert gets. Source: `ggml_metal_op_mul_mat_id_extra_*`."""
    experts, ids = tensor.src(0), tensor.src(2)
    if experts is None or ids is None:
        return 0
    n_expert, n_tokens = experts.ne(2), ids.ne(1)
    return 4 * n_expert + 4 * n_expert * n_tokens + 8 + 4 * 256


def _metal_attention_bytes(tensor: View) -> int:
    """Padding of the last chunk, a map of masked blocks, partial results, the cache in F16.

    Source: `ggml_metal_op_flash_attn_ext_extra_*`.
    """
    q, k, v, mask = (tensor.src(number) for number in range(4))
    if q is None or k is None or v is None:
        return 0
    n_rows, in_f16 = q.ne(1), k.type not in (0, _F16, 30) and q.ne(1) >= 32
    is_view = _is_view_of_k(k, v)
    row_k = _F16_BYTES * k.ne(0) if in_f16 else k.nb(1)
    row_v = _F16_BYTES * (k if is_view else v).ne(0) if in_f16 else v.nb(1)
    chunk = row_k * k.ne(2) * k.ne(3) + row_v * v.ne(2) * v.ne(3)
    blocks = 0
    if mask is not None:
        chunk += _F16_BYTES * mask.n_rows
        few = n_rows < 20 and q.ne(0) % 32 == 0
        high, wide = (1, 32) if few else (8, 64)
        blocks = -(-n_rows // high) * -(-mask.ne(0) // wide) * mask.ne(2) * mask.ne(3)
    partial = 4 * min(n_rows, 32) * q.ne(2) * q.ne(3) * 32 * (v.ne(0) + 2)
    copy = _pad(_F16_BYTES * k.n_elements, 16)
    if not is_view:
        copy += _pad(_F16_BYTES * v.n_elements, 16)
    return 64 * chunk + _pad(blocks, 32) + partial + copy


def _is_view_of_k(k: View, v: View) -> bool:
    """A latent cache's V is the first part of its K."""
    source, offset = v.view
    return source != 0 and (source == k.at or (source, offset) == k.view)


def _pad(n: int, to: int) -> int:
    return -(-n // to) * to
