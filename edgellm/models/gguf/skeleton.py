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
from edgellm.models.gguf.values import NumberArray, StringArray, Value

_VERSION: Final = 3
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _UINT64 = 4, 5, 6, 7, 8, 9, 10
_UINT16: Final = 2
_ITEM_TYPES: Final = {
    "<B": 0, "<b": 1, "<H": 2, "<h": 3, "<I": 4, "<i": 5, "<f": 6, "<?": 7, "<Q": 10, "<q": 11,
    "<d": 12,
}  # fmt: skip
# Counts are uint32 wherever llama.cpp reads them, but for these (src/llama-model-loader.cpp).
_NARROW: Final = {"split.no": _UINT16, "split.count": _UINT16, "split.tensors.count": _INT32}
_CODES: Final = {
    _UINT16: "<H", _UINT32: "<I", _INT32: "<i", _UINT64: "<Q", _FLOAT32: "<f", _BOOL: "<?",
}  # fmt: skip
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
            return struct.pack("<I", _STRING) + _text(value)
        case StringArray():
            return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + value.data
        case NumberArray():
            item = _ITEM_TYPES[value.item.format]
            return struct.pack("<IIQ", _ARRAY, item, len(value)) + value.data
        case bool():
            type_id = _BOOL
        case int():
            type_id = _NARROW.get(key) or _integer_type(value)
        case float():
            type_id = _FLOAT32
    return struct.pack("<I", type_id) + struct.pack(_CODES[type_id], value)


def _integer_type(value: int) -> int:
    if value < 0:
        return _INT32
    return _UINT32 if value < 1 << 32 else _UINT64
