"""What llama.cpp writes of one sequence, made fit for a context with another number of streams.
Pure.

    magic      4 bytes
    seq_id     4 bytes: the one that was written
    n_streams  4 bytes: 1 of a pool
    of each stream:
      n_cells  4 bytes: 0 of all streams but the sequence's own
      cells    positions, then keys and values, layer by layer

Nothing else depends on the layout, and nothing on which id or stream it was: the reader puts the
cells where the sequence is that it reads them for. Source: llama.cpp src/llama-context.cpp
`state_seq_get_data`, src/llama-kv-cache.cpp `state_write`, `state_read_sinfo`.
"""

import numpy as np
import numpy.typing as npt

Blob = npt.NDArray[np.uint8]  # numpy asks for huge pages: touching it first takes a tenth as long

_WORD_BYTES = 4
_N_BEFORE = 2  # words before the number of streams


def restreamed(blob: Blob, n_streams: int) -> Blob:
    """The same sequence for `n_streams` streams; `blob` itself if it is for so many already.

    Raises ValueError if it holds no sequence.
    """
    n_before = int(_words(blob, _N_BEFORE, 1).sum())
    if n_before == n_streams:
        return blob
    counts = _words(blob, _N_BEFORE + 1, n_before)
    if counts.size < n_before or not counts.any():
        raise ValueError(f"{blob.size} bytes of {n_before} streams hold no sequence")
    n_empty = int(np.flatnonzero(counts)[0])  # streams before its own; the others are at the end
    start = (_N_BEFORE + 1 + n_empty) * _WORD_BYTES
    end = blob.size - (n_before - 1 - n_empty) * _WORD_BYTES
    others = np.zeros((n_streams - 1) * _WORD_BYTES, np.uint8)
    count = np.array([n_streams], np.uint32).view(np.uint8)
    return np.concatenate([blob[: _N_BEFORE * _WORD_BYTES], count, blob[start:end], others])


def _words(blob: Blob, start: int, count: int) -> npt.NDArray[np.uint32]:
    words = blob[start * _WORD_BYTES : (start + count) * _WORD_BYTES]
    return words[: words.size // _WORD_BYTES * _WORD_BYTES].view(np.uint32)
