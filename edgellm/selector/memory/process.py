"""What the worker's process takes in the CPU's memory beside llama.cpp's buffers."""

from typing import Final

from edgellm.models.spec import ModelSpec
from edgellm.units import MIB

# Python, the libraries and its heap, which lies in huge pages: 59 to 66 MiB beside twelve models
# of 512 to 152,000 tokens, on x86-64 Linux.
_PROGRAM_BYTES: Final = 64 * MIB
# Texts and their indices, and merges of two: what nineteen vocabularies took that llama.cpp comes
# with, all but one within a fifth. That one's (UGM) was three times as much.
_TOKEN_BYTES: Final = 150
_MERGE_BYTES: Final = 145


def process_bytes(spec: ModelSpec) -> int:
    n_merges = spec.n_vocab if spec.n_merges is None else spec.n_merges
    return _PROGRAM_BYTES + _TOKEN_BYTES * spec.n_vocab + _MERGE_BYTES * n_merges
