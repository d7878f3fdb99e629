"""Rows on their way into llama_decode."""

import ctypes

import llama_cpp

from edgellm.runner.batch import Row


class NativeRows:
    """A llama_batch over arrays of our own. To fill these takes microseconds a row less than to go
    through the pointers that llama.cpp allocates for each row's ids."""

    def __init__(self, n_batch: int) -> None:
        self._token = (llama_cpp.llama_token * n_batch)()
        self._pos = (llama_cpp.llama_pos * n_batch)()
        self._seq_id = (llama_cpp.llama_seq_id * n_batch)()  # one of each row
        self._wants_logits = (ctypes.c_int8 * n_batch)()
        self._n_seq_id = (ctypes.c_int32 * n_batch)(*[1] * n_batch)
        ids = ctypes.POINTER(llama_cpp.llama_seq_id)
        id_bytes, first = ctypes.sizeof(llama_cpp.llama_seq_id), ctypes.addressof(self._seq_id)
        self._seq_ids = (ids * n_batch)(
            *(ctypes.cast(first + i * id_bytes, ids) for i in range(n_batch))
        )
        self.raw = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._token,
            pos=self._pos,
            n_seq_id=self._n_seq_id,
            seq_id=self._seq_ids,
            logits=self._wants_logits,
        )

    def fill(self, rows: tuple[Row, ...]) -> None:
        n = self.raw.n_tokens = len(rows)
        self._token[:n] = [row.token for row in rows]
        self._pos[:n] = [row.pos for row in rows]
        self._seq_id[:n] = [row.seq_id for row in rows]
        self._wants_logits[:n] = [row.wants_logits for row in rows]
