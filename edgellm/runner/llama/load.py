"""Loading a model and making its context, as the plan says. Raises LoadError and nothing else.

llama.cpp tells what went wrong, and what it took, in its log only: so the log is kept.
"""

import ctypes
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import llama_cpp
from llama_cpp import llama_cpp as bindings
from llama_cpp._ggml import libggml_base_path

from edgellm.errors import EdgellmError
from edgellm.models.gguf.header import POOLINGS
from edgellm.models.quants import BY_NAME
from edgellm.runner.llama.backends import load_backends
from edgellm.runner.llama.overrides import experts_on_cpu
from edgellm.runner.loadlog import DeviceMemory, last_error, memory_by_buffer, says_out_of_memory
from edgellm.selector.memory.shape import context_shape
from edgellm.selector.plan import Plan

_SPLIT = {"layer": 1, "row": 2, "tensor": 3}  # enum llama_split_mode, llama.h
_FLASH = {None: -1, False: 0, True: 1}  # enum llama_flash_attn_type, llama.h
_WARN, _CONT = 3, 5  # enum ggml_log_level, ggml.h
_MAX_LINES = 10_000
# Not worth a warning: a pool is longer than any conversation, which keeps to the plan's n_ctx_seq.
_NO_FAULT = "possible training context overflow"
# ggml as libllama sees it. A wheel can't hold links: its libggml.so is a copy of libggml.so.0, and
# llama_cpp's own handle is of that copy, with another registry of backends and devices.
GGML: ctypes.CDLL = bindings._lib
_LISTENING: list[Any] = []  # the process has one log: its listener outlives every context


class LoadError(EdgellmError):
    """`kind` is "memory" if a smaller plan may fit, "device" if a planned one is missing, otherwise
    "file", "draft" or "other"."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(slots=True, weakref_slot=True)
class Loaded:
    """Freed when nobody holds it any more, what was made last first. Not at the end of the process,
    which is quicker without."""

    model: Any
    context: Any
    memory: tuple[DeviceMemory, ...]
    kept: list[Any] = field(repr=False)  # what C holds pointers to, for as long as it lives
    owned: ExitStack = field(repr=False)  # frees the model, and whatever was made of it
    own_context: ExitStack = field(repr=False)  # of these, the context

    def lay_out(self, plan: Plan) -> None:
        """Replace the context by another one; what its cells held is gone. Raises LoadError, and
        then there is no context."""
        self.own_context.close()
        lines: list[str] = []
        _listen(lines)
        self.context = _context(self.model, plan, lines, self.own_context)
        _listen(None)


def start_llama() -> None:
    """Must come before any other call. May be called again."""
    load_backends(GGML, libggml_base_path)
    llama_cpp.llama_backend_init()


def load(path: bytes, plan: Plan, on_progress: Callable[[float], None]) -> Loaded:
    """Raises LoadError."""
    lines: list[str] = []
    kept: list[Any] = []
    _listen(lines)
    start_llama()
    model_params = _model_params(plan, on_progress, kept)
    with ExitStack() as owned:
        model = llama_cpp.llama_model_load_from_file(path, model_params)
        if not model:
            raise _load_error("the model", lines)
        owned.callback(llama_cpp.llama_model_free, model)
        own_context = owned.enter_context(ExitStack())
        context = _context(model, plan, lines, own_context)
        shape = context_shape(plan)
        memory = memory_by_buffer(lines, shape.n_output_rows / shape.n_seq_max)
        _listen(None)  # from here on nobody reads what it says
        loaded = Loaded(model, context, memory, kept, owned.pop_all(), own_context)
    weakref.finalize(loaded, loaded.owned.close).atexit = False
    return loaded


def _context(model: Any, plan: Plan, lines: list[str], owned: ExitStack) -> Any:
    context = llama_cpp.llama_init_from_model(model, _context_params(plan))
    if not context:
        raise _load_error(f"a context of {plan.n_ctx} tokens", lines, otherwise="other")
    owned.callback(llama_cpp.llama_free, context)
    return context


def load_head(loaded: Loaded, plan: Plan) -> tuple[Any, tuple[DeviceMemory, ...]]:
    """The context of the model's own head for guesses, beside the one it guesses for. Raises
    LoadError. Source: common/speculative.cpp, common_speculative_init_result."""
    lines: list[str] = []
    _listen(lines)
    params = _context_params(plan)
    params.ctx_type, params.ctx_other = llama_cpp.LLAMA_CONTEXT_TYPE_MTP, loaded.context
    context = llama_cpp.llama_init_from_model(loaded.model, params)
    if not context:
        raise _load_error("the context of the model's head", lines, otherwise="other")
    loaded.owned.callback(llama_cpp.llama_free, context)
    memory = memory_by_buffer(lines)
    _listen(None)
    return context, memory


def _model_params(plan: Plan, on_progress: Callable[[float], None], kept: list[Any]) -> Any:
    params, placement = llama_cpp.llama_model_default_params(), plan.placement
    params.n_gpu_layers = placement.n_gpu_layers
    params.split_mode = _SPLIT[placement.split_mode]
    params.no_host = placement.no_host
    params.load_mtp = plan.speculate == "mtp"
    params.progress_callback = _progress(on_progress)
    devices = device_handles(plan.devices)
    params.devices = ctypes.cast(devices, ctypes.c_void_p)
    kept += [params.progress_callback, devices]
    if placement.tensor_split:
        params.tensor_split = _proportions(placement.tensor_split)
        kept.append(params.tensor_split)
    if placement.has_experts_aside:
        aside = placement.n_cpu_moe, placement.expert_parts
        overrides = experts_on_cpu(*aside, _cpu_buffer_type())
        params.tensor_buft_overrides = ctypes.addressof(overrides)
        kept.append(overrides)
    return params


def _context_params(plan: Plan) -> Any:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = plan.n_ctx, plan.n_batch, plan.n_ubatch
    params.n_seq_max = plan.n_seq_max
    params.n_threads = params.n_threads_batch = plan.n_threads
    params.type_k, params.type_v = BY_NAME[plan.kv_type_k].id, BY_NAME[plan.kv_type_v].id
    params.flash_attn_type = _FLASH[plan.flash_attention]
    params.kv_unified, params.swa_full = plan.kv_unified, plan.swa_full
    # llama.cpp asserts that a micro-batch is longer by two than the number of states to go back by.
    params.n_rs_seq = min(plan.n_rs_seq, max(0, plan.n_ubatch - 2))
    params.op_offload = plan.placement.op_offload
    params.embeddings = plan.embedding
    if plan.pooling is not None:
        params.pooling_type = POOLINGS.index(plan.pooling)
    # Zero lets llama.cpp reserve for n_batch outputs: what pooling needs, and far too much else.
    params.n_outputs_max = 0 if plan.embedding else plan.n_outputs_max
    params.no_perf = True
    return params


def _load_error(what: str, lines: list[str], otherwise: str = "file") -> LoadError:
    kind = "memory" if says_out_of_memory(lines) else otherwise
    cause = last_error(lines) or "llama.cpp gave no reason"
    return LoadError(kind, f"llama.cpp could not load {what}: {cause}")


def _listen(lines: list[str] | None) -> None:
    callback = listener(lines)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    _LISTENING[:] = [callback]


def listener(lines: list[str] | None) -> Any:
    """Keeps llama.cpp's log in `lines`, for the numbers in it. Warnings go to stderr too."""

    def on_log(level: int, text: bytes, _: Any) -> None:
        line = text.decode("utf-8", "replace")
        if lines is not None and len(lines) < _MAX_LINES:
            lines.append(line)
        if _WARN <= level < _CONT and _NO_FAULT not in line:
            sys.stderr.write(line)
            sys.stderr.flush()

    return llama_cpp.llama_log_callback(on_log)


def _progress(on_progress: Callable[[float], None]) -> Any:
    """llama.cpp calls it for every tensor; passed on at most ten times a second, and at the end."""
    last_s = 0.0

    def on_load(progress_ratio: float, _: Any) -> bool:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s > 0.1 or progress_ratio >= 1:
            last_s = now_s
            on_progress(progress_ratio)
        return True

    return llama_cpp.llama_progress_callback(on_load)


def device_handles(names: tuple[str, ...]) -> Any:
    """ggml's handles, NULL-terminated. An empty list keeps llama.cpp from taking them all."""
    by_name = GGML.ggml_backend_dev_by_name
    by_name.restype, by_name.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    handles = [by_name(name.encode()) for name in names]
    for name, handle in zip(names, handles, strict=True):
        if not handle:
            raise LoadError("device", f"llama.cpp finds no device {name!r}")
    return (ctypes.c_void_p * (len(handles) + 1))(*handles, None)


def _proportions(split: tuple[float, ...]) -> Any:
    """An array for all devices there could be: llama.cpp reads all of it. Raises LoadError."""
    most = llama_cpp.llama_max_devices()
    if len(split) > most:
        raise LoadError("other", f"{len(split)} devices; this build of llama.cpp takes {most}")
    return (ctypes.c_float * most)(*split)


def _cpu_buffer_type() -> int | None:
    buffer_type = GGML.ggml_backend_cpu_buffer_type
    buffer_type.restype = ctypes.c_void_p
    return buffer_type()  # type: ignore[no-any-return]
