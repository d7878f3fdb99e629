"""What a backend would answer to llama.cpp about a tensor, read off C's memory.

The rules themselves (padding, scratch, alignment) are the arithmetic's, selector/graph/backends.py;
here they are asked about llama.cpp's own tensors. A graph asks tens of thousands of times, nearly
always about an operation of no interest, so its number is looked at before anything else.

Left out: which operations a backend lacks, flash attention on CUDA aside; the order in which Metal
and Vulkan run a graph (`graph_optimize`), which can lengthen a tensor's life.
"""

from ctypes import CDLL, c_char, c_int, c_int64, c_void_p
from typing import Any, Final, cast

from edgellm.models.quants import BY_ID, QuantType
from edgellm.probe.hardware import Backend
from edgellm.runner.oracle.structs import Tensor
from edgellm.selector.graph.backends import rules_of
from edgellm.selector.speed.kernels import has_cuda_kernel

_OFFLOAD_FROM: Final = 32  # rows; GGML_OP_OFFLOAD_MIN_BATCH
_MOST_OPS: Final = 101  # GGML_OP_COUNT: ggml_op_name reads past its table
_WITHOUT_HOST_MEMORY: Final = ("metal", "opencl", "rpc")  # `get_host_buffer_type` is NULL
_WITHOUT_OFFLOAD: Final = ("opencl", "rpc")  # so is `offload_op`
_NORMS: Final = ("norm", "rms_norm", "group_norm")  # build_norm of src/llama-graph.cpp
_CUDA: Final = ("cuda", "rocm", "musa")

_int_at: Final = c_int.from_address
_name_at: Final = (c_char * 64).from_address
_OP: Final = Tensor.op.offset
_NAME: Final = Tensor.name.offset


class Rules:
    """The methods take a tensor's address. `norms` are the layers whose norms this device computes;
    None: those that the scheduler gives it (oracle/layers.py)."""

    def __init__(self, backend: str, base: CDLL, norms: range | None = None) -> None:
        self._rules: Any = rules_of(cast(Backend, backend))
        self._n_bytes, self._names = base.ggml_nbytes, _op_names(base)
        numbers = {name: number for number, name in self._names.items()}
        self._attention, self._mul_mat = numbers["flash_attn_ext"], numbers["mul_mat"]
        self._mul_mat_id, self._get_rows = numbers["mul_mat_id"], numbers["get_rows"]
        self._by_third = {self._mul_mat_id, numbers["rope"], numbers["rope_back"]}
        self._special = {self._attention} if self._rules.halves_cache else set()
        if self._rules.is_metal:
            self._special = {self._attention, self._mul_mat_id, numbers["argsort"]}
        quantized = {number for number, kind in BY_ID.items() if kind.block > 1}
        self._padded = quantized if self._rules.pads_rows else set()
        self.alignment: int = self._rules.alignment
        self.max_bytes: int = self._rules.max_chunk_bytes
        self.is_pipelined: bool = self._rules.pipelines
        self.pinned_host = backend not in _WITHOUT_HOST_MEMORY
        self.offloads_any = backend not in _WITHOUT_OFFLOAD
        self.pads = bool(self._special or self._padded)  # else all takes what ggml_nbytes says
        self._attends_always = backend not in _CUDA
        self._norms, self._norm_ops = norms, {numbers[name] for name in _NORMS}
        self.refuses = not self._attends_always or norms is not None  # whether it ever says no

    def alloc_bytes(self, at: int) -> int:
        op = _int_at(at + _OP).value
        if op in self._special or _int_at(at).value in self._padded:
            return int(self._rules.alloc_bytes(self._view(at)))
        return int(self._n_bytes(at))

    def supports(self, at: int) -> bool:
        op = _int_at(at + _OP).value
        if op == self._attention and not self._attends_always:
            q, k, v = self._view(at).src[:3]
            return has_cuda_kernel(k.ne[0], v.ne[0], q.ne[2] // k.ne[2])
        if op in self._norm_ops and self._norms is not None:
            return self._is_ours(_name_at(at + _NAME).value)
        return True

    def _is_ours(self, name: bytes) -> bool:
        """ "norm-17" is; "result_norm", which is no layer's, is anybody's."""
        _, dash, layer = name.partition(b"norm-")
        return not dash or self._norms is None or int(layer) in self._norms

    def offloads(self, at: int) -> bool:
        """Whether a product whose weights the host has is taken over for a long prompt.

        Source: ggml-cuda.cu, ggml-vulkan.cpp, ggml-metal.cpp, `device_offload_op`.
        """
        op = _int_at(at + _OP).value
        if op == self._get_rows or (self._rules.is_metal and not self._is_product(op)):
            return False
        ne = self._view(at).ne
        if op == self._mul_mat:
            return ne[1] >= _OFFLOAD_FROM
        if op in self._by_third:
            return ne[2] >= _OFFLOAD_FROM
        return ne[1] * ne[2] * ne[3] >= _OFFLOAD_FROM

    def _is_product(self, op: int) -> bool:
        return op in (self._mul_mat, self._mul_mat_id)

    def _view(self, at: int) -> "View":
        return View(at, self._n_bytes, self._names, {})


class View:
    """A tensor in C's memory, with what the rules ask of the arithmetic's own (graph/tensors.py).

    `known` are those of one question by address: two views of one tensor share one object.
    """

    def __init__(
        self, at: int, n_bytes: Any, names: dict[int, str], known: "dict[int, View]"
    ) -> None:
        self._at, self._n_bytes, self._names, self._known = at, n_bytes, names, known
        known[at] = self

    @property
    def op(self) -> str:
        return self._names[_int_at(self._at + _OP).value].removesuffix("_ext")

    @property
    def type(self) -> QuantType:
        return BY_ID[_int_at(self._at).value]

    @property
    def ne(self) -> tuple[int, ...]:
        return tuple((c_int64 * 4).from_address(self._at + Tensor.ne.offset))

    @property
    def n_bytes(self) -> int:
        return int(self._n_bytes(self._at))

    @property
    def src(self) -> "tuple[View, ...]":
        pointers = (c_void_p * 10).from_address(self._at + Tensor.src.offset)
        return tuple(self._of(at) for at in pointers if at)

    @property
    def root(self) -> "View | None":
        at = c_void_p.from_address(self._at + Tensor.view_src.offset).value
        return self._of(at) if at else None

    def _of(self, at: int) -> "View":
        return self._known.get(at) or View(at, self._n_bytes, self._names, self._known)


def _op_names(base: CDLL) -> dict[int, str]:
    names = (base.ggml_op_name(number) for number in range(_MOST_OPS))
    return {number: name.decode().lower() for number, name in enumerate(names)}
