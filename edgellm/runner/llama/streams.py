"""What llama.cpp writes of one sequence, made fit for a context with another number of streams.
Pure.

    magic      4 bytes
    seq_id     4 bytes: the one that was written
    n_streams  4 bytes: 1 of a pool
    of each stream:
      n_cells  4 bytes: 0 of all streams but the sequence's own
      cells    positions, then keys and values, layer by layer

How values lie depends on flash attention (values.py). Nothing else depends on the layout, and
nothing on which id or stream it was: the reader puts the cells where the sequence is that it reads
them for. Source: llama.cpp src/llama-context.cpp
`state_seq_get_data`, src/llama-kv-cache.cpp `state_write`, `state_read_sinfo`.
"""

import numpy as np
import numpy.typing as npt

Blob = npt.NDArray[np.uint8]  # numpy asks for huge pages: touching it first takes a tenth as long

WORD_BYTES = 4
_N_BEFORE = 2  # words before the number of streams


def restreamed(blob: Blob, n_streams: int) -> Blob:
    """The same sequence for `n_streams` streams; `blob` itself if it is for so many already.

    Raises ValueError if it holds no sequence.
    """
    if words(blob, _N_BEFORE * WORD_BYTES, 1).tolist() == [n_streams]:
        return blob
    others = np.zeros((n_streams - 1) * WORD_BYTES, np.uint8)
    count = np.array([n_streams], np.uint32).view(np.uint8)
    head = blob[: _N_BEFORE * WORD_BYTES]
    return np.concatenate([head, count, blob[own_stream(blob)], others])


def own_stream(blob: Blob) -> slice:
    """Where its cells are, with their number.

    Raises ValueError if it holds no sequence.
    """
    n_streams = int(words(blob, _N_BEFORE * WORD_BYTES, 1).sum())
    counts = words(blob, (_N_BEFORE + 1) * WORD_BYTES, n_streams)
    if counts.size < n_streams or not counts.any():
        raise ValueError(f"{blob.size} bytes of {n_streams} streams hold no sequence")
    n_empty = int(np.flatnonzero(counts)[0])  # streams before its own; the others are at the end
    start = (_N_BEFORE + 1 + n_empty) * WORD_BYTES
    return slice(start, blob.size - (n_streams - 1 - n_empty) * WORD_BYTES)


def words(blob: Blob, start: int, count: int) -> npt.NDArray[np.uint32]:
    """`count` words from byte `start` on; fewer where it ends."""
    there = blob[start : start + count * WORD_BYTES]
    return there[: there.size // WORD_BYTES * WORD_BYTES].view(np.uint32)
