"""A model's file without its weights and vocabulary: what llama.cpp needs to plan, in some 50 kB.

The loader checks that every tensor lies inside the file and reads none of them before it has to,
so a sparse file of the true length passes. The vocabulary is left out ("no_vocab" is llama.cpp's
own word for that): reading it would cost more time than all the rest.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from edgellm.models.gguf.header import GGUFHeader, TensorInfo
from edgellm.models.gguf.values import (
    ARRAY,
    BOOL,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    SCALARS,
    STRING,
    UINT16,
    UINT32,
    UINT64,
    NumberArray,
    StringArray,
    Value,
)

_VERSION: Final = 3
_TYPE_IDS: Final = {code.format: type_id for type_id, code in SCALARS.items()}
# Counts are uint32 wherever llama.cpp reads them, but for these (src/llama-model-loader.cpp).
_NARROW: Final = {"split.no": UINT16, "split.count": UINT16, "split.tensors.count": INT32}
_KEPT_GENERAL: Final = frozenset({
    "general.architecture", "general.type", "general.file_type", "general.quantization_version",
})  # fmt: skip
_DROPPED: Final = ("tokenizer.", "general.", "quantize.", "imatrix.")
_TOKEN_TYPES: Final = "tokenizer.ggml.token_type_count"  # BERT has a matrix of as many rows


def write_skeletons(headers: Sequence[GGUFHeader], n_vocab: int, folder: Path) -> Path:
    """One sparse file for each header, the first one's path. Raises OSError.

    llama.cpp finds the parts of a split model by their names.
    """
    count = len(headers)
    paths = [
        folder / (f"model-{number:05d}-of-{count:05d}.gguf" if count > 1 else "model.gguf")
        for number in range(1, count + 1)
    ]
    for path, header in zip(paths, headers, strict=True):
        start = skeleton(header, n_vocab)
        with path.open("wb") as file:
            file.write(start)
            file.truncate(len(start) + _data_bytes(header))
    return paths[0]


def skeleton(header: GGUFHeader, n_vocab: int) -> bytes:
    """Everything before the tensor data. The same header gives the same bytes."""
    keys = dict(_metadata(header, n_vocab))
    out = [b"GGUF", struct.pack("<IQQ", _VERSION, len(header.tensors), len(keys))]
    out += [_text(key) + _value(key, value) for key, value in keys.items()]
    out += map(_tensor, header.tensors)
    start = b"".join(out)
    return start + bytes(-len(start) % header.alignment)


def _data_bytes(header: GGUFHeader) -> int:
    return header.file_bytes - header.data_offset


def _metadata(header: GGUFHeader, n_vocab: int) -> Iterator[tuple[str, Value]]:
    kept = {key: value for key, value in header.metadata.items() if _is_kept(key)}
    yield from kept.items()
    yield "general.alignment", header.alignment
    arch = header.text("general.architecture")
    if arch is None:
        return  # a later part of a split model says nothing about it
    yield "tokenizer.ggml.model", "no_vocab"
    yield f"{arch}.vocab_size", n_vocab


def _is_kept(key: str) -> bool:
    return key in _KEPT_GENERAL or key == _TOKEN_TYPES or not key.startswith(_DROPPED)


def _tensor(tensor: TensorInfo) -> bytes:
    dims = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return _text(tensor.name) + dims + struct.pack("<IQ", tensor.type_id, tensor.offset)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(key: str, value: Value) -> bytes:
    match value:
        case str():
            return struct.pack("<I", STRING) + _text(value)
        case StringArray():
            return struct.pack("<IIQ", ARRAY, STRING, len(value)) + value.data
        case NumberArray():
            item = _TYPE_IDS[value.item.format]
            return struct.pack("<IIQ", ARRAY, item, len(value)) + value.data
        case bool():
            type_id = BOOL
        case int():
            type_id = _integer_type(key, value)
        case float():
            type_id = FLOAT32 if _fits(FLOAT32, value) else FLOAT64
    return struct.pack("<I", type_id) + SCALARS[type_id].pack(value)


def _integer_type(key: str, value: int) -> int:
    """The one that llama.cpp reads; a wider one for what it would refuse to read."""
    types = (_NARROW.get(key, UINT32), UINT32, INT32, UINT64, INT64)
    return next(type_id for type_id in types if _fits(type_id, value))


def _fits(type_id: int, value: float) -> bool:
    try:
        SCALARS[type_id].pack(value)
    except (struct.error, OverflowError):
        return False
    return True
