"""Split KV: what one stream holds, copied into another one.

llama.cpp's own copy (`seq_cp` across streams, llama-kv-cache.cpp) takes the whole buffer, and is
done by the next llama_decode: 93 ms for a stream of 8,192 cells of a 0.6 B model, however few are
used. A state blob holds the used cells only; it is read once for all followers of a prefix: 54 MiB
for 500 tokens, 7 ms a target. On an accelerator the blob would cross the bus, so there whole
buffers are copied, except where what is deferred would come too late.
"""

from typing import Any

import llama_cpp

from edgellm.errors import EdgellmError
from edgellm.runner.batch import Op
from edgellm.runner.kv.last_read import LastRead
from edgellm.runner.llama.state import EVERYTHING, read_state, write_state
from edgellm.runner.llama.streams import Blob


class StreamCopies:
    def __init__(self, context: Any, *, on_host: bool) -> None:
        self._context, self._on_host = context, on_host
        # What else a sequence carries is put there after the copy: that must not come later.
        self.at_once = False
        self._memory = llama_cpp.llama_get_memory(context)
        self._n_cells = int(llama_cpp.llama_n_ctx_seq(context))  # of one stream
        self._last_read: LastRead[Blob] = LastRead(self._read)
        self._deferred = False

    def begin(self) -> None:
        """Before the operations of a batch: what the last one deferred has been done."""
        self._deferred = False

    def heed(self, op: Op) -> None:
        """This is done to the memory next."""
        self._last_read.heed(op)

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
        self._last_read.forget()

    def _by_blob(self, source: int, target: int) -> bool:
        """Worth it while less than half the stream is used: it is read, and then written."""
        n_used = llama_cpp.llama_memory_seq_pos_max(self._memory, source) + 1
        is_short = self._on_host and 2 * n_used <= self._n_cells
        if not (is_short or self.at_once):
            return False
        try:
            write_state(self._context, target, self._last_read.of(source), EVERYTHING)
        except EdgellmError:
            return False
        return True

    def _read(self, source: int) -> Blob:
        """Raises EdgellmError."""
        return read_state(self._context, source, EVERYTHING)
