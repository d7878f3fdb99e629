"""Split KV: what one stream holds, copied into another one.

llama.cpp's own copy (`seq_cp` across streams, llama-kv-cache.cpp) takes the whole buffer, and is
done by the next llama_decode: 93 ms for a stream of 8,192 cells of a 0.6 B model, however few are
used. A state blob holds only the cells in use, and is read once for all followers of a prefix: 54
MiB for 500 tokens, 7 ms a target. But on an accelerator the blob would cross the bus; so there
whole buffers are copied, except where a copy that is deferred would come too late.
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
        # No copy may be deferred: a sequence's state is put there after it, in the same batch.
        self.at_once = False
        self._memory = llama_cpp.llama_get_memory(context)
        self._n_cells = int(llama_cpp.llama_n_ctx_seq(context))  # of one stream
        self._last_read: LastRead[Blob] = LastRead(self._read)
        self._deferred = False

    def begin(self) -> None:
        """Before the operations of a batch. Copies that the last one deferred are done by now."""
        self._deferred = False

    def heed(self, op: Op) -> None:
        """This operation is done next."""
        self._last_read.heed(op)

    def copy(self, source: int, target: int, length: int) -> None:
        """Afterwards `target` holds the first `length` cells of `source`, and nothing else."""
        if self._deferred or not self._by_blob(source, target):
            if self.at_once:
                raise EdgellmError(f"llama.cpp could not copy sequence {source} to {target}")
            # Not a range: llama.cpp would assert, and end the process. Later copies of this batch
            # are deferred too: a blob read from a stream that is still to be filled would be empty.
            llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)
            self._deferred = True
        llama_cpp.llama_memory_seq_rm(self._memory, target, length, -1)

    def end(self) -> None:
        """After the operations of a batch: rows are computed now, and every stream may change."""
        self._last_read.forget()

    def _by_blob(self, source: int, target: int) -> bool:
        """Copy by way of a blob, if that pays: it is read and then written, so while less than half
        of the stream is in use. False: it didn't pay, or failed."""
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
