"""What the worker's process takes in the CPU's memory beside llama.cpp's buffers."""

from typing import Final

from edgellm.models.spec import ModelSpec
from edgellm.units import MIB

# Python and the libraries with a model of 512 tokens loaded: 54 to 57 MiB on x86-64 Linux.
_PROGRAM_BYTES: Final = 56 * MIB
# Texts, merges and their indices, of nineteen vocabularies that llama.cpp comes with: 150 bytes a
# token without merges, 320 to 420 with them.
_TOKEN_BYTES: Final = 320


def process_bytes(spec: ModelSpec) -> int:
    return _PROGRAM_BYTES + _TOKEN_BYTES * spec.n_vocab
