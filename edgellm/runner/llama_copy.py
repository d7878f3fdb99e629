"""Split KV: what one stream holds, copied into another one.

llama.cpp's own copy (`seq_cp` across streams, llama-kv-cache.cpp) takes the whole buffer, and is
done by the next llama_decode: 93 ms for a stream of 8,192 cells of a 0.6 B model, however few are
used. A state blob holds the used cells only; it is read once for all followers of a prefix: 54 MiB
for 500 tokens, 7 ms a target. On an accelerator the blob would cross the bus, so there whole
buffers are copied, except where what is deferred would come too late.
"""

import ctypes
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from edgellm.errors import EdgellmError

_EVERYTHING = 0  # flags of llama_state_seq_*_ext
_Blob = npt.NDArray[np.uint8]  # numpy asks for huge pages: a tenth of the time to touch them first


class StreamCopies:
    def __init__(self, context: Any, *, on_host: bool) -> None:
        self._context, self._on_host = context, on_host
        # What else a sequence carries is put there after the copy: that must not come later.
        self.at_once = False
        self._memory = llama_cpp.llama_get_memory(context)
        self._n_cells = int(llama_cpp.llama_n_ctx_seq(context))  # of one stream
        # The last stream that was read, and what it held. Within a batch it can't become false: a
        # stream is filled again by another copy only, and that one's source is then the last.
        self._blob: tuple[int, _Blob] | None = None
        self._deferred = False

    def begin(self) -> None:
        """Before the operations of a batch: what the last one deferred has been done."""
        self._deferred = False

    def copy(self, source: int, target: int, length: int) -> None:
        """`target` holds the first `length` cells of `source` afterwards, and nothing else."""
        if self._deferred or not self._by_blob(source, target):
            if self.at_once:
                raise EdgellmError(f"llama.cpp could not copy sequence {source} to {target}")
            # A range would be an assertion, and the process's end. What follows in this batch is
            # deferred too: a blob of a stream that has yet to be filled would be empty.
            llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)
            self._deferred = True
        llama_cpp.llama_memory_seq_rm(self._memory, target, length, -1)

    def end(self) -> None:
        """After the operations of a batch: from here on every stream changes."""
        self._blob = None

    def _by_blob(self, source: int, target: int) -> bool:
        """Worth it while less than half the stream is used: it is read, and then written."""
        n_used = llama_cpp.llama_memory_seq_pos_max(self._memory, source) + 1
        is_short = self._on_host and 2 * n_used <= self._n_cells
        if not (is_short or self.at_once):
            return False
        blob = self._read(source)
        if blob is None:
            return False
        set_data = llama_cpp.llama_state_seq_set_data_ext
        n_set = set_data(self._context, _pointer(blob), blob.size, target, _EVERYTHING)
        return bool(n_set == blob.size)

    def _read(self, source: int) -> _Blob | None:
        if self._blob is None or self._blob[0] != source:
            size = llama_cpp.llama_state_seq_get_size_ext(self._context, source, _EVERYTHING)
            blob = np.empty(size, np.uint8)
            get_data = llama_cpp.llama_state_seq_get_data_ext
            n_read = get_data(self._context, _pointer(blob), size, source, _EVERYTHING)
            if n_read != size:
                return None
            self._blob = (source, blob)
        return self._blob[1]


def _pointer(blob: _Blob) -> Any:
    return blob.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
