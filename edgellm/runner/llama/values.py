"""How the values of a sequence lie in what llama.cpp writes of it, and how to turn them. Pure.

With flash attention they lie cell by cell, like keys; without it number by number, each with all of
its cells, because attention is a product of matrices then. What follows the cells of a stream
(streams.py):

    is_transposed  4 bytes
    n_layers       4 bytes
    keys of each layer:             type 4, bytes of a cell 8, cells
    values of each layer, either:   type 4, bytes of a cell 8, cells
    or transposed:                  type 4, bytes of a number 4, numbers of a cell 4, numbers

Before them lie the cells' positions: 12 bytes a cell, or 20 where positions have several parts.
Source: llama.cpp src/llama-kv-cache.cpp `state_write_meta`, `state_write_data`.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgellm.runner.llama.streams import WORD_BYTES, Blob, own_stream, words

_CELL_HEAD_BYTES = (12, 20)  # position, number of ids, one id; and llama_kv_cell_ext
_HEAD_BYTES = 12  # before the keys or values of a layer
_BLOCK = 64  # cells that are turned at once: by blocks it takes half as long
# Bytes of a number, by its ggml_type: of those that a cache may have without flash attention.
_NUMBER_BYTES = {0: 4, 1: 2, 30: 2}  # F32, F16, BF16
_MOST_LAYERS = 4096

_Table = npt.NDArray[np.unsignedinteger[Any]]


class _Written(NamedTuple):
    is_transposed: bool
    n_cells: int
    form_at: int  # where the word is that says how values lie
    values_at: int
    n_layers: int


def is_transposed(blob: Blob) -> bool:
    """Raises ValueError if it is nothing of what is described above."""
    return _written(blob).is_transposed


def revalued(blob: Blob, *, transposed: bool) -> Blob:
    """The same sequence with its values transposed, or not; `blob` itself if they are so already.

    Raises ValueError if it is nothing of what is described above.
    """
    written = _written(blob)
    if written.is_transposed == transposed:
        return blob
    there = np.empty_like(blob)
    there[: written.values_at] = blob[: written.values_at]
    there[written.form_at : written.form_at + WORD_BYTES] = _bytes(int(transposed))
    end = _turn(blob, there, written)
    there[end:] = blob[end:]
    return there


def _written(blob: Blob) -> _Written:
    own = own_stream(blob)
    n_cells = _number(blob, own.start, 1)
    for head_bytes in _CELL_HEAD_BYTES:
        form_at = own.start + WORD_BYTES + n_cells * head_bytes
        form = words(blob, form_at, 2).tolist()
        if len(form) < 2 or form[0] > 1 or not 0 < form[1] <= _MOST_LAYERS:
            continue
        values_at = form_at + 2 * WORD_BYTES
        for _ in range(form[1]):
            row_bytes = words(blob, values_at + WORD_BYTES, 2).tolist()
            values_at += _HEAD_BYTES + n_cells * sum(row_bytes[:1])
        if values_at <= own.stop:
            return _Written(bool(form[0]), n_cells, form_at, values_at, form[1])
    raise ValueError(f"{blob.size} bytes hold no keys and values as they are known")


def _turn(blob: Blob, there: Blob, written: _Written) -> int:
    """Write the values into `there`, layer by layer, each as long as it was. Returns where they
    end."""
    end, n_cells = written.values_at, written.n_cells
    for _ in range(written.n_layers):
        at, kind = end, _number(blob, end, 1)
        number_bytes = _NUMBER_BYTES.get(kind)
        if number_bytes is None:
            raise ValueError(f"values of type {kind} can't be turned")
        start = at + _HEAD_BYTES
        if written.is_transposed:
            n_numbers = _number(blob, at + 2 * WORD_BYTES, 1)
            there[at:start] = _bytes(kind, n_numbers * number_bytes, 0)  # the length is a long
        else:
            n_numbers = _number(blob, at + WORD_BYTES, 2) // number_bytes
            there[at:start] = _bytes(kind, number_bytes, n_numbers)
        end = start + n_cells * n_numbers * number_bytes
        if end > blob.size:
            raise _cut_off(blob)
        shape = (n_numbers, n_cells) if written.is_transposed else (n_cells, n_numbers)
        of_numbers = np.dtype(f"u{number_bytes}")
        table = blob[start:end].view(of_numbers).reshape(shape)
        _transpose(table, there[start:end].view(of_numbers).reshape(shape[::-1]))
    return end


def _transpose(table: _Table, there: _Table) -> None:
    for i in range(0, len(table), _BLOCK):
        there[:, i : i + _BLOCK] = table[i : i + _BLOCK].T


def _bytes(*numbers: int) -> Blob:
    return np.array(numbers, np.uint32).view(np.uint8)


def _number(blob: Blob, at: int, n_words: int) -> int:
    """Raises ValueError where it ends."""
    found = words(blob, at, n_words)
    if found.size < n_words:
        raise _cut_off(blob)
    return int(found[0]) + (int(found[1]) << 32 if n_words > 1 else 0)


def _cut_off(blob: Blob) -> ValueError:
    return ValueError(f"{blob.size} bytes end before their keys and values do")
