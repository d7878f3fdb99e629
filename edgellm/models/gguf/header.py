"""The GGUF header, read from as few bytes as will do.

Format: ggml/docs/gguf.md. Little-endian; magic "GGUF", version, tensor count, key count,
the keys, then one record for each tensor. A header can run to many MiB (the vocabulary is
in there), and we often read it over HTTP, so the parser does no I/O at all: give it a prefix
of the file, and it gives back the header or says how long a prefix it wants next.

It is nowhere laxer than llama.cpp's own reader (ggml/src/gguf.cpp): the same limits or stricter
ones, tensors back to back without gap or overlap, no name twice.
"""

import re
import struct
from collections.abc import Mapping
from math import prod
from typing import Final

from edgellm.errors import BadGGUF
from edgellm.models.gguf.values import (
    FETCH_AGAIN,
    FLOAT32,
    MAX_HEADER_BYTES,
    UINT32,
    Cursor,
    NumberArray,
    ShortError,
    StringArray,
    Value,
)
from edgellm.models.quants import FILE_TYPES, tensor_bytes
from edgellm.values import frozen

MAX_KEYS: Final = 65_536
MAX_TENSORS: Final = 65_536
MAX_NAME_BYTES: Final = 63  # GGML_MAX_NAME, without its final NUL
MAX_DIMS: Final = 4
MAX_ALIGNMENT: Final = 4_096
_ALIGNMENT: Final = "general.alignment"
_DEFAULT_ALIGNMENT: Final = 32
# llama.cpp asserts on their type, where it throws for others.
_TYPED: Final = {_ALIGNMENT: (UINT32, "uint32"), "adapter.lora.alpha": (FLOAT32, "float32")}
# What often lies in a model's place, by how it begins, and what to do about it.
_WEB_PAGE: Final = "it is a web page: the address was of the model's page, not of its file"
_OTHER_FORMAT: Final = "llama.cpp's convert_hf_to_gguf.py makes a GGUF file of its repository"
_LOOKALIKES: Final = (
    (re.compile(rb"version https://git-lfs"),
     "it is git's pointer to the file: `git lfs pull` in its folder fetches it"),
    (re.compile(rb"\s*<(?:!doctype )?html", re.IGNORECASE), _WEB_PAGE),
    (re.compile(rb"PK\x03\x04"), f"it is a zip archive, as PyTorch's models are: {_OTHER_FORMAT}"),
    (re.compile(rb".{8}\{\"", re.DOTALL), f"it is a safetensors file: {_OTHER_FORMAT}"),
)  # fmt: skip
_FIRST_PREFIX_BYTES: Final = 64 << 10
_GUESSED_FILE_TYPE: Final = 1024  # LLAMA_FTYPE_GUESSED, a flag
_NO_TOKEN: Final = 0xFFFF_FFFF  # LLAMA_TOKEN_NULL, written as a uint32
POOLINGS: Final = ("none", "mean", "cls", "last", "rank")  # enum llama_pooling_type, llama.h


@frozen
class NeedBytes:
    """A longer prefix, from the start of the file."""

    count: int  # what to ask for, so that it ends soon
    at_least: int  # less can't be enough


@frozen
class TensorInfo:
    name: str
    shape: tuple[int, ...]  # as GGUF writes it: fastest-moving dimension first
    type_id: int
    offset: int  # from the start of the tensor data
    n_bytes: int

    @property
    def n_elements(self) -> int:
        return prod(self.shape)


@frozen
class GGUFHeader:
    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    data_offset: int  # where the tensor data begins: the header's length, padded
    alignment: int

    @property
    def file_bytes(self) -> int:
        """The shortest file that holds every tensor."""
        if not self.tensors:
            return self.data_offset
        last = self.tensors[-1]
        return self.data_offset + last.offset + last.n_bytes

    # One accessor a type. None: the file doesn't say. The wrong type: BadGGUF, naming the key.

    def text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        if value is None or isinstance(value, str):
            return value
        raise _wrong_type(key, value, "a string")

    def flag(self, key: str) -> bool | None:
        value = self.metadata.get(key)
        if value is None or isinstance(value, bool):
            return value
        raise _wrong_type(key, value, "a boolean")

    def integer(self, key: str) -> int | None:
        """A count or an id: never negative, and small enough for llama.cpp's uint32."""
        value = self.metadata.get(key)
        if value is None:
            return None
        return _count(key, value)

    def integers(self, key: str, n: int) -> tuple[int, ...] | None:
        """`n` counts, one a layer. A single number stands for all, as in llama.cpp."""
        value = self.metadata.get(key)
        if value is None:
            return None
        if not isinstance(value, NumberArray):
            return (_count(key, value),) * n
        if len(value) < n:
            raise BadGGUF(f"{key!r} has {len(value)} numbers for {n} layers")
        return tuple(_count(key, item) for item in value)[:n]

    def strings(self, key: str) -> StringArray | None:
        value = self.metadata.get(key)
        if value is None or isinstance(value, StringArray):
            return value
        raise _wrong_type(key, value, "an array of strings")

    def need_integer(self, key: str) -> int:
        value = self.integer(key)
        if value is None:
            raise BadGGUF(f"{key!r} is missing from the header")
        return value

    # What the other rooms ask for, by name.

    @property
    def architecture(self) -> str:
        name = self.text("general.architecture")
        if not name:
            raise BadGGUF("'general.architecture' is missing from the header")
        return name

    @property
    def license(self) -> str | None:
        return self.text("general.license")

    @property
    def chat_template(self) -> str | None:
        return self.text("tokenizer.chat_template")

    @property
    def tokens(self) -> StringArray | None:
        return self.strings("tokenizer.ggml.tokens")

    @property
    def bos_token(self) -> str | None:
        return self._token("tokenizer.ggml.bos_token_id")

    @property
    def eos_token(self) -> str | None:
        return self._token("tokenizer.ggml.eos_token_id")

    @property
    def add_bos(self) -> bool | None:
        """None leaves it to llama.cpp, which decides by the kind of vocabulary."""
        return self.flag("tokenizer.ggml.add_bos_token")

    @property
    def pooling(self) -> str | None:
        key = f"{self.architecture}.pooling_type"
        number = self.integer(key)
        if number is None:
            return None
        if number >= len(POOLINGS):
            raise BadGGUF(f"{key!r} is {number}; pooling types go from 0 to {len(POOLINGS) - 1}")
        return POOLINGS[number]

    @property
    def quant(self) -> str | None:
        """The label of the mix, "Q4_K_M". A label, not a promise: the tensors' types decide."""
        number = self.integer("general.file_type")
        return None if number is None else FILE_TYPES.get(number & ~_GUESSED_FILE_TYPE)

    @property
    def split_no(self) -> int:
        return self.integer("split.no") or 0

    @property
    def split_count(self) -> int:
        return self.integer("split.count") or 1

    def _token(self, key: str) -> str | None:
        token_id, tokens = self.integer(key), self.tokens
        if token_id is None or token_id == _NO_TOKEN or tokens is None:
            return None
        if token_id >= len(tokens):
            raise BadGGUF(f"{key!r} is {token_id}, the vocabulary has {len(tokens)} tokens")
        return tokens[token_id]


def parse_header(prefix: bytes, file_bytes: int | None = None) -> GGUFHeader | NeedBytes:
    """Raises BadGGUF if no longer prefix could help.

    With `file_bytes`, the whole file's size, every claim about the data is held against it;
    without, only against the limits above.
    """
    cursor = Cursor(prefix, file_bytes)
    try:
        header = _header(cursor)
    except ShortError as short:
        wanted = max(short.end, 2 * len(prefix), _FIRST_PREFIX_BYTES)
        return NeedBytes(min(wanted, file_bytes or MAX_HEADER_BYTES), short.end)
    if file_bytes is not None and header.file_bytes > file_bytes:
        raise BadGGUF(
            f"the file is cut off: its tensors end at byte {header.file_bytes:,}, "
            f"the file has {file_bytes:,}",
            hint=FETCH_AGAIN,
        )
    return header


def _header(cursor: Cursor) -> GGUFHeader:
    if cursor.file_bytes == 0:
        raise BadGGUF("the file is empty", hint=FETCH_AGAIN)
    magic = cursor.take(4)
    if magic != b"GGUF":
        raise BadGGUF(
            f"not a GGUF file: it starts with {repr(magic)[1:]}, not with 'GGUF'",
            hint=next((hint for start, hint in _LOOKALIKES if start.match(cursor.data)), ""),
        )
    version = cursor.u32()
    if version not in (2, 3):
        swapped = version & 0xFFFF == 0  # a big-endian 3 reads as 0x03000000
        what = "a big-endian file" if swapped and version else f"GGUF version {version}"
        raise BadGGUF(f"{what} is not known here; little-endian versions 2 and 3 are")
    n_tensors = _bounded(cursor.u64(), MAX_TENSORS, "tensors")
    n_keys = _bounded(cursor.u64(), MAX_KEYS, "keys")
    metadata = _metadata(cursor, n_keys)
    alignment = _alignment(metadata)
    tensors = _tensors(cursor, n_tensors, alignment)
    padding = -cursor.at % alignment if tensors else 0
    return GGUFHeader(version, metadata, tensors, cursor.at + padding, alignment)


def _metadata(cursor: Cursor, n_keys: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for number in range(n_keys):
        key = cursor.string()
        if not key:
            raise BadGGUF(f"key {number} of {n_keys} has no name")
        if key in metadata:
            raise BadGGUF(f"the key {key!r} is there twice")
        if key in _TYPED and cursor.peek_u32() != _TYPED[key][0]:
            raise BadGGUF(f"{key!r} is not a {_TYPED[key][1]}")
        metadata[key] = cursor.value(key)
    return metadata


def _alignment(metadata: Mapping[str, Value]) -> int:
    value = metadata.get(_ALIGNMENT, _DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or value < 1 or value & (value - 1):
        raise BadGGUF(f"{_ALIGNMENT!r} is {value}, not a power of two")
    return _bounded(value, MAX_ALIGNMENT, "bytes of alignment")


def _tensors(cursor: Cursor, count: int, alignment: int) -> tuple[TensorInfo, ...]:
    tensors: list[TensorInfo] = []
    names: set[str] = set()
    expected = 0
    for _ in range(count):
        tensor = tensor_info(cursor)
        if tensor.name in names:
            raise BadGGUF(f"the tensor {tensor.name!r} is there twice")
        if tensor.offset != expected:
            raise BadGGUF(
                f"the tensor {tensor.name!r} lies at {tensor.offset:,} where {expected:,} is due: "
                "tensors must follow each other without gap or overlap"
            )
        names.add(tensor.name)
        tensors.append(tensor)
        expected += tensor.n_bytes + -tensor.n_bytes % alignment
    return tuple(tensors)


def tensor_info(cursor: Cursor) -> TensorInfo:
    """The record of one tensor. Raises BadGGUF, ShortError."""
    name = cursor.string()
    if len(name.encode()) > MAX_NAME_BYTES:
        raise BadGGUF(f"the tensor name {name[:40]!r}… is longer than {MAX_NAME_BYTES} bytes")
    n_dims = _bounded(cursor.u32(), MAX_DIMS, f"dimensions of {name!r}")
    shape = struct.unpack(f"<{n_dims}q", cursor.take(8 * n_dims))
    type_id, offset = cursor.u32(), cursor.u64()
    if any(n < 0 for n in shape) or prod(shape) >= 1 << 63:
        raise BadGGUF(f"the tensor {name!r} has the impossible shape {shape}")
    try:
        n_bytes = tensor_bytes(type_id, shape)
    except BadGGUF as error:
        raise BadGGUF(f"the tensor {name!r}: {error}") from error
    return TensorInfo(name, shape, type_id, offset, _bounded(n_bytes, (1 << 63) - 1, "bytes"))


def _bounded(value: int, limit: int, what: str) -> int:
    if value > limit:
        raise BadGGUF(f"{value:,} {what} are beyond the limit of {limit:,}")
    return value


def _count(key: str, value: Value) -> int:
    if not isinstance(value, int):  # a bool counts: per-layer flags are written as such
        raise _wrong_type(key, value, "an integer")
    if not 0 <= value < 1 << 32:
        raise BadGGUF(f"{key!r} is {value:,}, which can't be")
    return int(value)


def _wrong_type(key: str, value: Value, wanted: str) -> BadGGUF:
    return BadGGUF(f"{key!r} is of type {type(value).__name__}, not {wanted}")
