"""LoRA adapters of one context: loaded beside the model, switched between two calls.

A context has one set of adapters with their scales at a time; every row of a call is computed with
it. Another set means another graph, reserved anew: 3 ms at 0.5 B. `llama_adapter_lora_init` throws
and catches on most faults of a file, but asserts on keys of a wrong type and shapes that only the
graph meets, so a header is checked in Python first (models/adapters.py).
Source: src/llama-adapter.cpp; src/llama-context.cpp `set_adapters_lora`.
"""

import ctypes
from typing import Any

import llama_cpp

from edgellm.chat.messages import AdapterSet
from edgellm.errors import BadGGUF


class Adapters:
    def __init__(self, model: Any, context: Any) -> None:
        self._model, self._context = model, context
        self._loaded: dict[int, Any] = {}  # llama.cpp's pointers by id
        self._used: AdapterSet = ()

    def load(self, adapter_id: int, path: bytes) -> None:
        """Raises BadGGUF."""
        adapter = llama_cpp.llama_adapter_lora_init(self._model, path)
        if not adapter:
            raise BadGGUF("llama.cpp could not load this adapter; its log says why")
        self._loaded[adapter_id] = adapter

    def free(self, adapter_id: int) -> None:
        if any(adapter_id == used for used, _ in self._used):
            self.use(())  # the context would still point to it
        llama_cpp.llama_adapter_lora_free(self._loaded.pop(adapter_id))

    def use(self, wanted: AdapterSet) -> None:
        """For the calls that follow. Of equal sets llama.cpp keeps the graph."""
        if wanted == self._used:
            return
        n = len(wanted)
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * n)(
            *(self._loaded[one] for one, _ in wanted)
        )
        scales = (ctypes.c_float * n)(*(scale for _, scale in wanted))
        llama_cpp.llama_set_adapters_lora(self._context, adapters, n, scales)
        self._used = wanted
