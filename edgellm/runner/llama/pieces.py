"""A token's bytes, as llama.cpp writes them."""

import ctypes
from typing import Any

import llama_cpp


class PieceOf:
    """The bytes of a token, looked up once, on any thread. Without `special`, control tokens have
    none."""

    def __init__(self, vocab: Any, *, special: bool = False) -> None:
        self._vocab, self._special = vocab, special
        self._cache: dict[int, bytes] = {}

    def __call__(self, token: int) -> bytes:
        piece = self._cache.get(token)
        if piece is None:
            piece = self._cache[token] = self._look_up(token)
        return piece

    def _look_up(self, token: int, n_bytes: int = 256) -> bytes:
        buffer = ctypes.create_string_buffer(n_bytes)
        n = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, n_bytes, 0, self._special)
        if n < 0:  # the piece is longer than the buffer: it has -n bytes
            return self._look_up(token, -n)
        return buffer.raw[:n]
