"""What a vocabulary has tokens for."""

from typing import Any

import llama_cpp

from edgellm.runner.intake.infill import FillMarks

_NONE = -1  # LLAMA_TOKEN_NULL


def fill_marks(vocab: Any) -> FillMarks | None:
    """The tokens that fill-in-the-middle needs. None: one of the three is missing."""
    prefix, suffix, middle, repo, file = (
        _token(function(vocab))
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
    begins = llama_cpp.llama_vocab_get_add_bos(vocab)
    bos = _token(llama_cpp.llama_vocab_bos(vocab)) if begins else None
    return FillMarks(prefix, suffix, middle, repo, file, bos)


def _token(token: int) -> int | None:
    return None if token == _NONE else int(token)
