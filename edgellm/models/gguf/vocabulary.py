"""Faults in a vocabulary that llama.cpp answers with an abort instead of an error.

`GGML_ASSERT(id_to_token.size() == token_to_id.size())` (src/llama-vocab.cpp) ends the process
when a token is there twice; one flipped bit does that. Decoding 150,000 tokens costs more than
the rest of the header, so this runs once before a native load, not on every look at a file.
"""

from edgellm.errors import BadGGUF
from edgellm.models.gguf.header import GGUFHeader
from edgellm.models.gguf.values import NumberArray

_PER_TOKEN = ("tokenizer.ggml.scores", "tokenizer.ggml.token_type")


def check_vocabulary(header: GGUFHeader) -> None:
    """Raises BadGGUF."""
    tokens = header.tokens
    if tokens is None:
        return
    seen: set[bytes] = set()
    for number, token in enumerate(tokens.raw()):
        if token in seen:
            raise BadGGUF(
                f"token {number} of the vocabulary, {token!r}, is there twice",
                hint="the file is damaged: fetch it again",
            )
        seen.add(token)
    for key in _PER_TOKEN:
        values = header.metadata.get(key)
        if values is None:
            continue
        if not isinstance(values, NumberArray) or len(values) < len(tokens):
            raise BadGGUF(f"{key!r} has not one number for each of {len(tokens)} tokens")
