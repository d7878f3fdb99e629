"""How the values of a sequence lie in what llama.cpp writes of it, and how to turn them. Pure.

With flash attention they lie cell by cell, like keys; without it number by number, each with all of
its cells, because attention is a product of matrices then. What follows the cells of a stream
(streams.py):

    is_transposed  4 bytes
    n_layers       4 bytes
    keys of each layer:             type 4, bytes of a cell 8, cells
    values of each layer, either:   type 4, bytes of a cell 8, cells
    or transposed:                  type 4, bytes of a number 4, numbers of a cell 4, numbers

A layer may have no values of its own. Before all this lie the cells' positions: of each cell the
position, the number of ids (1), and the id; where positions have several parts, three words more in
between. Source: llama.cpp src/llama-kv-cache.cpp `state_write_meta`, `state_write_data`.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgellm.runner.llama.streams import WORD_BYTES, Blob, own_stream, words

_CELL_WORDS = (3, 6)  # before the keys; the latter with llama_kv_cell_ext (llama-kv-cells.h)
_HEAD_BYTES = 12  # before the keys or values of a layer
_BLOCK = 64  # cells that are turned at once: by blocks it takes half as long
_MOST_LAYERS = 4096
# Bytes of a number, by its ggml_type: of those that a cache may have without flash attention.
_NUMBER_BYTES = {0: 4, 1: 2, 30: 2}  # F32, F16, BF16

_Table = npt.NDArray[np.unsignedinteger[Any]]


class _Values(NamedTuple):
    """Of one layer."""

    kind: int
    n_numbers: int  # of a cell
    number_bytes: int
    start: int  # behind what precedes them
    end: int


class _Written(NamedTuple):
    is_transposed: bool
    n_cells: int
    form_at: int  # where the word is that says how values lie
    layers: list[_Values]


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
    there = blob.copy()
    there[written.form_at : written.form_at + WORD_BYTES] = _bytes(int(transposed))
    for values in written.layers:
        _turn(blob, there, values, written)
    return there


def _written(blob: Blob) -> _Written:
    own = own_stream(blob)
    n_cells = _number(blob, own.start, 1)
    cells_at = own.start + WORD_BYTES
    for n_words in _CELL_WORDS:
        form_at = cells_at + n_cells * n_words * WORD_BYTES
        cells, form = words(blob, cells_at, n_cells * n_words), words(blob, form_at, 2).tolist()
        if len(form) < 2 or not _are_cells(cells.reshape(n_cells, n_words)):
            continue
        is_transposed, n_layers = form
        if is_transposed <= 1 and 0 < n_layers <= _MOST_LAYERS:
            at = _end_of_keys(blob, form_at + 2 * WORD_BYTES, n_cells, n_layers)
            layers = _layers(blob, at, own.stop, n_cells, is_transposed=bool(is_transposed))
            return _Written(bool(is_transposed), n_cells, form_at, layers)
    raise ValueError(f"{blob.size} bytes hold no keys and values as they are known")


def _are_cells(cells: npt.NDArray[np.uint32]) -> bool:
    """Each has a single id, and all the same."""
    return bool((cells[:, 1] == 1).all() and (cells[:, -1] == cells[0, -1]).all())


def _end_of_keys(blob: Blob, at: int, n_cells: int, n_layers: int) -> int:
    for _ in range(n_layers):
        at += _HEAD_BYTES + n_cells * _number(blob, at + WORD_BYTES, 2)
    return at


def _layers(blob: Blob, at: int, stop: int, n_cells: int, *, is_transposed: bool) -> list[_Values]:
    """Raises ValueError unless they end at `stop`."""
    found = list[_Values]()
    while at < stop:
        kind = _number(blob, at, 1)
        number_bytes = _NUMBER_BYTES.get(kind, 0)
        if is_transposed:
            cell_bytes = number_bytes * _number(blob, at + 2 * WORD_BYTES, 1)
        else:
            cell_bytes = _number(blob, at + WORD_BYTES, 2)
        start = at + _HEAD_BYTES
        at = start + n_cells * cell_bytes
        n_numbers = cell_bytes // number_bytes if number_bytes else 0
        found.append(_Values(kind, n_numbers, number_bytes, start, at))
    if at > stop:
        raise ValueError(f"{blob.size} bytes end before their keys and values do")
    return found


def _turn(blob: Blob, there: Blob, values: _Values, written: _Written) -> None:
    """Write the values of one layer, which take as many bytes either way."""
    kind, n_numbers, number_bytes, start, end = values
    if not number_bytes:
        raise ValueError(f"of {blob.size} bytes, values of type {kind} can't be turned")
    shape = (n_numbers, written.n_cells) if written.is_transposed else (written.n_cells, n_numbers)
    if written.is_transposed:
        head = _bytes(kind, n_numbers * number_bytes, 0)  # the length is a long
    else:
        head = _bytes(kind, number_bytes, n_numbers)
    there[start - _HEAD_BYTES : start] = head
    numbers = np.dtype(f"u{number_bytes}")
    table: _Table = blob[start:end].view(numbers).reshape(shape)
    turned: _Table = there[start:end].view(numbers).reshape(shape[::-1])
    for i in range(0, len(table), _BLOCK):
        turned[:, i : i + _BLOCK] = table[i : i + _BLOCK].T


def _bytes(*numbers: int) -> Blob:
    return np.array(numbers, np.uint32).view(np.uint8)


def _number(blob: Blob, at: int, n_words: int) -> int:
    """Raises ValueError where it ends."""
    found = words(blob, at, n_words)
    if found.size < n_words:
        raise ValueError(f"{blob.size} bytes end before their keys and values do")
    return int(found[0]) + (int(found[1]) << 32 if n_words > 1 else 0)
