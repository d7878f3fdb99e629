"""llama.cpp's own `--fit` on described devices: one JSON question on stdin, one answer on stdout.

    {"question": {…}, "n_ctx_min": 4096, "margin_bytes": 1073741824}

The question is the memory oracle's (edgellm/runner/oracle/messages.py) with everything that fit is
to find left at llama.cpp's defaults. A program of its own, since llama.cpp may end it.
"""

import ctypes
import os
import sys
import time
from ctypes import c_char_p, c_float, c_int, c_size_t, c_uint32, c_void_p
from typing import Any

import msgspec

from edgellm.runner.llama.oracle import LlamaMemory
from edgellm.runner.oracle.devices import VirtualDevice
from edgellm.runner.oracle.messages import Question, Row

_FIT = (
    "_Z17common_fit_paramsPKcP18llama_model_paramsP20llama_context_paramsPfP32llama_model_tensor_"
    "buft_overridePmjPK22common_fit_extra_model14ggml_log_level"
)
_ERROR = 4  # enum ggml_log_level


class Override(ctypes.Structure):
    """llama_model_tensor_buft_override, llama.h."""

    _fields_ = (("pattern", c_char_p), ("buft", c_void_p))


class FitQuestion(msgspec.Struct):
    question: Question
    n_ctx_min: int = 4096  # -fitc
    margin_bytes: int = 1 << 30  # -fitt


class FitAnswer(msgspec.Struct):
    status: int  # enum common_params_fit_status: 0 is success
    n_ctx: int
    n_gpu_layers: int
    layers: list[float]  # of each device, as tensor_split
    overrides: list[tuple[str, int]]  # a pattern, and the device whose overflow it is; -1: the CPU
    rows: list[Row]
    seconds: float


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=FitQuestion)
    os.write(out, msgspec.json.encode(fit(LlamaMemory(), asked)))


def fit(memory: LlamaMemory, asked: FitQuestion) -> FitAnswer:
    question, kept = asked.question, []
    devices = memory.devices(question)
    model = memory.model_params(question, devices, kept)
    context = memory.context_params(question)
    n_devices = int(memory.llama.llama_max_devices())
    split = (c_float * n_devices)()
    overrides = (Override * _n_overrides(memory))()
    margins = (c_size_t * n_devices)(*([asked.margin_bytes] * n_devices))
    function = getattr(memory.common, _FIT)
    function.restype = c_int
    function.argtypes = [c_char_p, *(c_void_p,) * 5, c_uint32, c_void_p, c_int]
    begun_s = time.monotonic()
    status = function(
        question.path.encode(), *map(ctypes.addressof, (model, context, split, overrides, margins)),
        asked.n_ctx_min, None, _ERROR,
    )  # fmt: skip
    seconds = time.monotonic() - begun_s
    return FitAnswer(
        status,
        context.n_ctx,
        model.n_gpu_layers,
        list(split[: len(devices)]),
        list(_overrides(overrides, devices)),
        list(memory.measure(question.path, model, context)),
        seconds,
    )


def _n_overrides(memory: LlamaMemory) -> int:
    count: Any = memory.llama._lib.llama_max_tensor_buft_overrides
    count.restype = c_size_t
    return int(count())


def _overrides(overrides: Any, devices: list[VirtualDevice]) -> Any:
    by_type = {device.buffer_type_ptr: number for number, device in enumerate(devices)}
    for override in overrides:
        if not override.pattern:
            return
        yield override.pattern.decode(), by_type.get(override.buft, -1)


if __name__ == "__main__":
    main()
