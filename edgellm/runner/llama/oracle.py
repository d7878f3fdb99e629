"""llama.cpp's own memory figures for devices that may not exist. Used in a child process only.

The best way is `common_get_device_memory_data`, which `--fit` goes by: it loads a header with
`no_alloc`, makes a context and adds up every buffer that would be allocated (common/fit.cpp). It
is C++ and no public interface, so it is found by its mangled name, and virtual devices are handed
over only to a ggml whose structs we know. Without either, the public C API still says on its log
what the CPU alone would need, weights aside.

A model that llama.cpp refuses ends this process there (a C++ exception has nobody to catch it).
"""

import ctypes
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from ctypes import CDLL, Structure, c_char_p, c_float, c_int, c_int64, c_size_t, c_uint32, c_void_p
from pathlib import Path
from types import ModuleType
from typing import Any

from edgellm.runner.llama.backends import load_backends
from edgellm.runner.llama.overrides import experts_on_cpu
from edgellm.runner.oracle.devices import VirtualDevice, VirtualHost, pointers
from edgellm.runner.oracle.layers import norm_layers
from edgellm.runner.oracle.messages import Answer, Question, Row
from edgellm.runner.oracle.structs import declare, knows_layout

# std::vector<ggml_backend_device *> is spelled by libstdc++ and by libc++ (macOS).
_MEASURE = (
    "_Z29common_get_device_memory_dataPKcPK18llama_model_paramsPK20llama_context_params"
    "RSt6vectorIP19ggml_backend_deviceSaIS9_EERjSD_SD_14ggml_log_level",
    "_Z29common_get_device_memory_dataPKcPK18llama_model_paramsPK20llama_context_params"
    "RNSt3__16vectorIP19ggml_backend_deviceNS7_9allocatorISA_EEEERjSF_SF_14ggml_log_level",
)
_WARN, _ERROR, _CONT = 3, 4, 5  # enum ggml_log_level, ggml.h
_LOAD_MODE_NONE = 0  # enum llama_load_mode, llama.h
_MAX_LINES = 10_000


class _Vector(Structure):
    """std::vector: begin, end, end of the reserved memory."""

    _fields_ = (("begin", c_void_p), ("end", c_void_p), ("reserved", c_void_p))


class _DeviceMemory(Structure):
    """common_device_memory_data, common/fit.h."""

    _fields_ = (
        ("total", c_int64),
        ("free", c_int64),
        ("model", c_size_t),
        ("context", c_size_t),
        ("compute", c_size_t),
    )


class LlamaMemory:
    """Raises ImportError or OSError where there is no llama.cpp at all. `symbols` are what the
    best way may be called; with none of them there, the log is read."""

    def __init__(self, symbols: Sequence[str] = _MEASURE) -> None:
        self.llama = _bindings()
        libraries = Path(self.llama.__file__ or "").parent / "lib"
        self._base = _library(libraries, "libggml-base")
        self._log = self.llama.llama_log_callback(self._take_line)
        self._lines: list[str] = []
        self._measure: Any = None
        self._host: VirtualHost | None = None
        self.llama.llama_log_set(self._log, c_void_p(0))
        load_backends(self.llama._lib, libraries)  # ggml as libllama sees it
        self.llama.llama_backend_init()
        self.common = _common(libraries)
        self._measure = self._find_measure(symbols)

    def answer(self, question: Question) -> Answer:
        """Ends the process when llama.cpp throws or aborts; see above."""
        self._lines.clear()
        if self._measure is None:
            return self._cpu_only(question)
        kept: list[Any] = []
        model = self.model_params(question, self.devices(question), kept)
        return Answer(self.measure(question.path, model, self.context_params(question)))

    def measure(self, path: str, model: Any, context: Any) -> tuple[Row, ...]:
        """What a load with these parameters would take, by device, the host last."""
        listed, numbers = _Vector(), [c_uint32() for _ in range(3)]
        values = (model, context, listed, *numbers)
        told = self._measure(path.encode(), *map(ctypes.addressof, values), _ERROR)
        return tuple(_rows(told))

    def devices(self, question: Question) -> list[VirtualDevice]:
        always = self.llama._lib.llama_supports_mmap  # a C function that is true of everything
        return [
            VirtualDevice(self._base, always, f"V{number}", *described)
            for number, described in enumerate(
                zip(question.devices, norm_layers(question), strict=True)
            )
        ]

    def model_params(
        self, question: Question, devices: Sequence[VirtualDevice], kept: list[Any]
    ) -> Any:
        """`kept` holds what C points to."""
        params = self.llama.llama_model_default_params()
        listed = pointers(devices)
        params.devices = ctypes.addressof(listed)
        params.n_gpu_layers = question.n_gpu_layers
        params.no_host = question.no_host
        # Repacked weights are in buffers of no device, which the breakdown leaves out.
        params.use_extra_bufts = False
        params.no_alloc, params.load_mode = True, _LOAD_MODE_NONE
        if question.tensor_split:
            params.tensor_split = (c_float * self.llama.llama_max_devices())(*question.tensor_split)
        aside = question.n_cpu_moe, question.expert_parts
        overrides = experts_on_cpu(*aside, self._base.ggml_backend_cpu_buffer_type())
        if any(aside):
            params.tensor_buft_overrides = ctypes.addressof(overrides)
        kept += [devices, listed, overrides, params.tensor_split]
        return params

    def context_params(self, question: Question) -> Any:
        params = self.llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = (
            question.n_ctx, question.n_batch, question.n_ubatch,
        )  # fmt: skip
        params.n_seq_max, params.n_rs_seq = question.n_seq_max, question.n_rs_seq
        params.n_outputs_max = question.n_outputs_max
        params.type_k, params.type_v = question.type_k, question.type_v
        params.flash_attn_type = question.flash_attention
        params.kv_unified, params.swa_full = question.kv_unified, question.swa_full
        params.op_offload, params.embeddings = question.op_offload, question.embeddings
        return params

    def _cpu_only(self, question: Question) -> Answer:
        """What the log of a load tells: KV cache and compute, of the CPU alone."""
        from edgellm.runner.loadlog import context_bytes, last_error  # 20 ms that few need

        if question.devices:
            return Answer((), "this llama.cpp can't be asked about other devices")
        kept: list[Any] = []
        path, params = question.path.encode(), self.model_params(question, [], kept)
        model = self.llama.llama_model_load_from_file(path, params)
        if not model:
            return Answer((), last_error(self._lines) or "the header was refused")
        context = self.llama.llama_init_from_model(model, self.context_params(question))
        told = context_bytes(self._lines)
        if context:
            self.llama.llama_free(context)
        self.llama.llama_model_free(model)
        if not context:
            return Answer((), last_error(self._lines) or "the context was refused")
        return Answer((Row(None, *told),))

    def _find_measure(self, symbols: Sequence[str]) -> Any:
        declare(self._base)
        if self.common is None or not knows_layout(self._base, self.llama._lib):
            return None
        for name in symbols:
            if (found := getattr(self.common, name, None)) is not None:
                host = self._base.ggml_backend_cpu_buffer_type()
                self._host = VirtualHost(self._base, host)
                found.restype, found.argtypes = _Vector, [c_char_p, *(c_void_p,) * 6, c_int]
                return found
        return None

    def _take_line(self, level: int, text: bytes, _: Any) -> None:
        """With virtual devices nobody reads the log; decoding it would cost as much as the rest."""
        if (self._measure is None or _WARN <= level < _CONT) and len(self._lines) < _MAX_LINES:
            self._lines.append(text.decode("utf-8", "replace"))


def _bindings() -> ModuleType:
    """`llama_cpp.llama_cpp` alone: the package around it imports numpy and jinja2, which takes six
    times as long as all that we need."""
    found = importlib.util.find_spec("llama_cpp")
    if found is None:
        raise ImportError("llama_cpp is not installed")
    sys.modules["llama_cpp"] = importlib.util.module_from_spec(found)  # its __init__ is not run
    return importlib.import_module("llama_cpp.llama_cpp")


def _library(folder: Path, stem: str) -> CDLL:
    suffix = "dylib" if sys.platform == "darwin" else "so"
    return CDLL(str(folder / f"{stem}.{suffix}"))


def _common(folder: Path) -> CDLL | None:
    """llama.cpp's own install rules put it beside the package, in site-packages/lib."""
    for place in (folder.parent.parent / "lib", folder):
        try:
            return _library(place, "libllama-common")
        except OSError:
            continue
    return None


def _rows(told: _Vector) -> Iterator[Row]:
    for at in range(told.begin or 0, told.end or 0, ctypes.sizeof(_DeviceMemory)):
        memory = _DeviceMemory.from_address(at)
        yield Row(memory.model, memory.context, memory.compute)
