"""LoRA adapters of one context: loaded beside the model, switched between two calls.

A context has one set of adapters with their scales at a time; every row of a call is computed with
it. Another set means another graph, reserved anew: 3 ms at 0.5 B. `llama_adapter_lora_init` throws
and catches on most faults of a file, but asserts on keys of a wrong type and shapes that only the
graph meets, so a header is checked in Python first (models/anatomy/adapters.py).

A file is read beside the loop. All that this shares with decoding is the model's set of adapters:
it is written when one has been read or is freed, and gone through when a graph is reserved, by the
first call after another set. Those exclude each other; calls of an unchanged set wait for nobody.
Source: src/llama-adapter.cpp; src/llama-context.cpp `set_adapters_lora`, `graph_max_nodes`.
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import llama_cpp

from edgellm.chat.messages import AdapterSet
from edgellm.errors import BadGGUF
from edgellm.runner.batch import Row
from edgellm.runner.llama.state import Decode

_READ_BYTES = 1 << 20
_UNCHANGED = nullcontext()


class Adapters:
    def __init__(self, model: Any, context: Any) -> None:
        self._model, self._context = model, context
        self._loaded: dict[int, Any] = {}  # llama.cpp's pointers by id
        self._used: AdapterSet = ()
        self._is_reserved = True  # the graph, for the set that is used
        self._lock = threading.Lock()  # of the model's set of adapters

    def use_in(self, context: Any) -> None:
        """Another context of this model, in the place of the one before: it has none yet."""
        with self._lock:
            self._context, self._used, self._is_reserved = context, (), True

    def load(self, adapter_id: int, path: bytes) -> None:
        """On any thread. Raises BadGGUF."""
        _read_through(path)
        with self._lock:
            adapter = llama_cpp.llama_adapter_lora_init(self._model, path)
        if not adapter:
            raise BadGGUF("llama.cpp could not load this adapter; its log says why")
        self._loaded[adapter_id] = adapter

    def free(self, adapter_id: int) -> None:
        """On the loop's thread, which waits while another one is loaded."""
        with self._lock:
            if any(adapter_id == used for used, _ in self._used):
                self._use(())  # the context would still point to it
            llama_cpp.llama_adapter_lora_free(self._loaded.pop(adapter_id))

    def used(self, wanted: AdapterSet) -> AbstractContextManager[None]:
        """For the calls within, of which there is one at least."""
        if wanted == self._used and self._is_reserved:
            return _UNCHANGED
        return self._changed(wanted)

    @contextmanager
    def _changed(self, wanted: AdapterSet) -> Iterator[None]:
        with self._lock:
            self._use(wanted)
            yield
            self._is_reserved = True

    def without(self, decode: Decode) -> Decode:
        """The same, with no adapter."""

        def decode_plain(rows: tuple[Row, ...]) -> None:
            with self.used(()):
                decode(rows)

        return decode_plain

    def _use(self, wanted: AdapterSet) -> None:
        self._is_reserved = False
        n = len(wanted)
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * n)(
            *(self._loaded[one] for one, _ in wanted)
        )
        scales = (ctypes.c_float * n)(*(scale for _, scale in wanted))
        llama_cpp.llama_set_adapters_lora(self._context, adapters, n, scales)
        self._used = wanted


def _read_through(path: bytes) -> None:
    """Into the system's cache: what holds the lock is not to wait for a disk. Raises BadGGUF."""
    known, piece = Path(os.fsdecode(path)), bytearray(_READ_BYTES)
    try:
        with known.open("rb", buffering=0) as file:
            while file.readinto(piece):
                pass
    except OSError as error:
        raise BadGGUF(f"{known.name} can't be read: {error.strerror}") from error
