"""A model's vocabulary: text to tokens and back, and what it has tokens for. On any thread."""

from typing import Any

import llama_cpp

from edgellm.errors import BadRequest
from edgellm.runner.intake.infill import FillMarks
from edgellm.runner.llama.pieces import PieceOf

_NONE = -1  # LLAMA_TOKEN_NULL


class Vocab:
    def __init__(self, model: Any) -> None:
        self.raw = llama_cpp.llama_model_get_vocab(model)
        self.n_tokens = int(llama_cpp.llama_vocab_n_tokens(self.raw))
        is_end = llama_cpp.llama_vocab_is_eog
        self.ends = [token for token in range(self.n_tokens) if is_end(self.raw, token)]
        self.bos = _token(llama_cpp.llama_vocab_bos(self.raw))
        self.piece = PieceOf(self.raw)
        self.letters = PieceOf(self.raw, special=True)

    @property
    def any_token(self) -> int:
        """A token for trial decodes."""
        return self.bos or 0

    def tokenize(self, data: bytes, add_special: bool, parse_special: bool = True) -> list[int]:
        """Raises BadRequest."""
        size = len(data) + 8
        tokens = (llama_cpp.llama_token * size)()
        n = llama_cpp.llama_tokenize(
            self.raw, data, len(data), tokens, size, add_special, parse_special
        )
        if n < 0:
            raise BadRequest(f"a text of {len(data)} bytes can't be tokenized")
        return list(tokens[:n])

    def marks(self, markers: tuple[str, ...]) -> dict[int, bytes]:
        tokens = {token for marker in markers for token in self.tokenize(marker.encode(), False)}
        return {token: self.letters(token) for token in tokens if not self.piece(token)}

    def fill_marks(self) -> FillMarks | None:
        """The tokens that fill-in-the-middle needs. None: one of the three is missing."""
        prefix, suffix, middle, repo, file = (
            _token(function(self.raw))
            for function in (
                llama_cpp.llama_vocab_fim_pre,
                llama_cpp.llama_vocab_fim_suf,
                llama_cpp.llama_vocab_fim_mid,
                llama_cpp.llama_vocab_fim_rep,
                llama_cpp.llama_vocab_fim_sep,
            )
        )
        if prefix is None or suffix is None or middle is None:
            return None
        begins = llama_cpp.llama_vocab_get_add_bos(self.raw)
        return FillMarks(prefix, suffix, middle, repo, file, self.bos if begins else None)


def _token(token: int) -> int | None:
    return None if token == _NONE else int(token)
