"""A token's bytes, as llama.cpp writes them."""

import ctypes
from typing import Any

import llama_cpp


class PieceOf:
    """The bytes of a token, looked up once. Without `special`, control tokens have none."""

    def __init__(self, vocab: Any, *, special: bool = False) -> None:
        self._vocab, self._special = vocab, special
        self._cache: dict[int, bytes] = {}
        self._buffer = ctypes.create_string_buffer(256)

    def __call__(self, token: int) -> bytes:
        piece = self._cache.get(token)
        if piece is None:
            piece = self._cache[token] = self._look_up(token)
        return piece

    def _look_up(self, token: int) -> bytes:
        n = llama_cpp.llama_token_to_piece(
            self._vocab, token, self._buffer, len(self._buffer), 0, self._special
        )
        if n < 0:  # the piece is longer than the buffer: -n says by how much
            self._buffer = ctypes.create_string_buffer(-n)
            return self._look_up(token)
        return self._buffer.raw[:n]
