"""Pieces of llama.cpp's memory, copied out to ours and back.

A *stretch* is the cells of one sequence between two positions. llama.cpp writes whole sequences
only, so a stretch is first tagged for a scratch id, which then sees just these cells; on the way
back it lands on the scratch id and is tagged for its owner. A *checkpoint* is what a fork can't
share by reference: the sliding window's cells and the recurrent state
(LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY).

`llama_state_seq_set_data` checks types and row sizes only: whether a blob belongs to this model and
these tokens is the caller's business. If it refuses a blob from a file, the tokens are computed
again.
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import llama_cpp
import numpy as np
from msgspec.structs import replace

from edgellm.errors import EdgellmError
from edgellm.runner.backend import NoKVSlot
from edgellm.runner.batch import (
    Blank,
    Checkpoint,
    Discard,
    Erase,
    Fetch,
    Restore,
    RestoreAll,
    Resume,
    Row,
    Save,
    SaveAll,
    Store,
)
from edgellm.runner.kv.edge import BlobSize
from edgellm.runner.llama.streams import Blob, restreamed
from edgellm.runner.llama.values import is_transposed, revalued
from edgellm.runner.prefix_disk import PrefixDisk
from edgellm.selector.memory.shape import context_shape
from edgellm.selector.plan import Plan

EVERYTHING, PARTIAL = 0, 1  # flags of llama_state_seq_*_ext, llama.h
StateOp: TypeAlias = (
    Save | Restore | SaveAll | RestoreAll | Checkpoint | Resume | Blank | Discard
    | Store | Fetch | Erase
)  # fmt: skip
Decode: TypeAlias = Callable[[tuple[Row, ...]], None]  # raises EdgellmError, NoKVSlot


class StateBlobs:
    """Copies of memory, by blob number.

    The scratch id is one that no sequence has (Limits.n_scratch), but below the context's
    n_seq_max: above that llama.cpp keeps tags but doesn't write them (llama-kv-cache.cpp,
    `state_write_meta`). `decode` computes rows without any adapter.
    """

    def __init__(self, context: Any, plan: Plan, decode: Decode) -> None:
        self._context, self._scratch, self._decode = context, plan.n_seq_max - 1, decode
        self._n_streams = context_shape(plan).n_streams
        self._memory = llama_cpp.llama_get_memory(context)
        self._blobs: dict[int, Blob] = {}
        self._disk: PrefixDisk | None = None
        self._file_keys: dict[int, bytes] = {}  # by number, of what was read from disk
        self._transposes: bool | None = None  # values; None: nobody has asked
        self.blank: Blob | None = None  # see llama/partial.py

    def keep_on(self, disk: PrefixDisk, on_fetched: Callable[[int, float | None], None]) -> None:
        """From here on blobs may be stored and fetched. `on_fetched` is called from another thread
        with the blob's number and the seconds that reading it took; None: it couldn't be read."""
        self._disk, self._on_fetched = disk, on_fetched

    def hand_out(self, blob: int) -> Blob:
        """The blob, which is the caller's from here on, for another context of this model."""
        return self._blobs.pop(blob)

    def take_in(self, blob: int, payload: Blob) -> None:
        """Keep what another context's StateBlobs handed out, whatever its layout. How its values
        lie is seen to when it is wanted."""
        self._blobs[blob] = restreamed(payload, self._n_streams)

    def put(self, seq_id: int, payload: Blob) -> None:
        """Into empty cells, whatever layout it comes from. Raises EdgellmError, ValueError."""
        blob = self._as_here(restreamed(payload, self._n_streams))
        write_state(self._context, seq_id, blob, EVERYTHING)

    def learn_form(self, seq_id: int) -> None:
        """Of what this context writes, by a sequence that has cells. Only where these are all that
        a sequence has; and needed only where the context may be replaced by another one. What is
        written in a way that we don't know stays as it is. Raises EdgellmError."""
        with suppress(ValueError):
            self._transposes = is_transposed(read_state(self._context, seq_id, EVERYTHING))

    def _as_here(self, blob: Blob) -> Blob:
        """Raises ValueError."""
        return blob if self._transposes is None else revalued(blob, transposed=self._transposes)

    def obey(self, op: StateOp) -> None:
        """Raises EdgellmError."""
        match op:
            case Save(source, start, end, blob):
                self.save(source, start, end, blob)
            case Restore():
                self.restore(op)
            case SaveAll(source, blob):
                self._blobs[blob] = read_state(self._context, source, EVERYTHING)
            case RestoreAll():
                self._restore_all(op)
            case Checkpoint(source, blob):
                self._blobs[blob] = read_state(self._context, source, PARTIAL)
            case Resume(blob, target):
                write_state(self._context, target, self._blobs[blob], PARTIAL)
            case Blank(source):
                assert self.blank is not None, "only windows are blanked"
                write_state(self._context, source, self.blank, PARTIAL)
            case Discard(blob):
                del self._blobs[blob]
                self._file_keys.pop(blob, None)
            case Store() | Fetch() | Erase():
                self._file(op)

    def _file(self, op: Store | Fetch | Erase) -> None:
        assert self._disk is not None, "nobody stores what can't be"
        match op:
            case Store(blob, stored):
                payload = self._blobs[blob]  # may be smaller than planned, if it has a window
                self._disk.store(replace(stored, n_bytes=payload.nbytes), payload.data)
            case Fetch(blob, key):
                self._file_keys[blob] = key
                self._disk.fetch(blob, key, self._fetched)
            case Erase(key):
                self._disk.erase(key)

    def _fetched(self, number: int, blob: bytearray | None, elapsed_s: float) -> None:
        if blob is None:
            del self._file_keys[number]
        else:
            self._blobs[number] = np.frombuffer(blob, np.uint8)
        self._on_fetched(number, None if blob is None else elapsed_s)

    def _restore_all(self, op: RestoreAll) -> None:
        if not self._takes(op.target, op.blob):
            self._compute(op.target, 0, op.tokens)

    def _takes(self, target: int, blob: int) -> bool:
        """Put the blob on `target`, which is empty. False: llama.cpp refused it, and `target` is
        still empty. That is only accepted of a blob from a file, which is erased so that the next
        worker doesn't get it. Raises EdgellmError for one that we have copied out ourselves.
        """
        try:
            # Only now, as it takes its time (80 µs a token of a 0.6 B model): many never come back.
            # What can't be turned is for llama.cpp to refuse.
            with suppress(ValueError):
                self._blobs[blob] = self._as_here(self._blobs[blob])
            write_state(self._context, target, self._blobs[blob], EVERYTHING)
        except EdgellmError:
            if self._disk is None or blob not in self._file_keys:
                raise
            self._disk.erase(self._file_keys[blob])
            llama_cpp.llama_memory_seq_rm(self._memory, target, -1, -1)
            return False
        return True

    def _compute(self, target: int, start: int, tokens: tuple[int, ...]) -> None:
        """Raises EdgellmError."""
        n_ubatch = int(llama_cpp.llama_n_ubatch(self._context))
        rows = [Row(target, start + i, token, False) for i, token in enumerate(tokens)]
        try:
            for at in range(0, len(rows), n_ubatch):
                self._decode(tuple(rows[at : at + n_ubatch]))
        except NoKVSlot as error:
            raise EdgellmError(f"no cells for {len(tokens)} tokens: {error}") from error

    def measure(self, seq_id: int) -> BlobSize:
        """What stretches take, measured on a sequence of two tokens."""
        sizes = []
        for end in (1, 2):
            llama_cpp.llama_memory_seq_cp(self._memory, seq_id, self._scratch, 0, end)
            sizes.append(state_bytes(self._context, self._scratch, EVERYTHING))
            llama_cpp.llama_memory_seq_rm(self._memory, self._scratch, -1, -1)
        cell_bytes = sizes[1] - sizes[0]
        return BlobSize(sizes[0] - cell_bytes, cell_bytes)

    def save(self, source: int, start: int, end: int, blob: int) -> None:
        """Raises EdgellmError when llama.cpp can't write it."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, self._scratch, start, end)
        try:
            self._blobs[blob] = read_state(self._context, self._scratch, EVERYTHING)
        finally:
            llama_cpp.llama_memory_seq_rm(self._memory, self._scratch, -1, -1)

    def restore(self, op: Restore) -> None:
        """Raises EdgellmError when there are no cells for it."""
        if not self._takes(self._scratch, op.blob):
            self._compute(op.target, op.start, op.tokens)
            return
        llama_cpp.llama_memory_seq_cp(self._memory, self._scratch, op.target, -1, -1)
        llama_cpp.llama_memory_seq_rm(self._memory, self._scratch, -1, -1)


def state_bytes(context: Any, seq_id: int, flags: int) -> int:
    return int(llama_cpp.llama_state_seq_get_size_ext(context, seq_id, flags))


def read_state(context: Any, seq_id: int, flags: int) -> Blob:
    """Raises EdgellmError."""
    size = state_bytes(context, seq_id, flags)
    blob = np.empty(size, np.uint8)
    n_read = llama_cpp.llama_state_seq_get_data_ext(context, _pointer(blob), size, seq_id, flags)
    if not n_read or n_read != size:
        raise EdgellmError(f"llama.cpp wrote {n_read} of {size} bytes of sequence {seq_id}'s state")
    return blob


def write_state(context: Any, seq_id: int, blob: Blob, flags: int) -> None:
    """Raises EdgellmError."""
    set_data = llama_cpp.llama_state_seq_set_data_ext
    n_set = set_data(context, _pointer(blob), blob.size, seq_id, flags)
    if n_set != blob.size:
        raise EdgellmError(f"llama.cpp took {n_set} of {blob.size} bytes for sequence {seq_id}")


def _pointer(blob: Blob) -> Any:
    return blob.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
