"""A GGUF file cut into two that are one model, as `llama-gguf-split` does it."""

import struct

from gguf_files import Typed, text, value_bytes

from edgellm.models.gguf.header import GGUFHeader, TensorInfo, parse_header

_UINT16, _INT32 = 2, 5
_ALIGNMENT = 32


def split_in_two(data: bytes) -> tuple[bytes, bytes]:
    """The first file has all the keys and half of the tensors, the second the others."""
    header = parse_header(data, len(data))
    assert isinstance(header, GGUFHeader)
    infos_at = data.index(text(header.tensors[0].name))
    n_keys = struct.unpack_from("<Q", data, 16)[0]
    half, n = len(header.tensors) // 2, len(header.tensors)
    first_byte = len(data) - _data_bytes(header.tensors)
    return (
        _file(0, n, n_keys, data[24:infos_at], header.tensors[:half], data, first_byte),
        _file(1, n, 0, b"", header.tensors[half:], data, first_byte),
    )


def _data_bytes(tensors) -> int:
    last = max(tensors, key=lambda tensor: tensor.offset)
    return last.offset + _padded(last.n_bytes)


def _file(number, n_tensors, n_keys, keys, tensors: tuple[TensorInfo, ...], data, first_byte):
    own = text("split.no") + struct.pack("<IH", _UINT16, number)
    own += text("split.count") + struct.pack("<IH", _UINT16, 2)
    own += text("split.tensors.count") + value_bytes(Typed(_INT32, n_tensors))
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), n_keys + 3) + keys + own
    at, body = 0, b""
    for tensor in tensors:
        out += text(tensor.name) + struct.pack("<I", len(tensor.shape))
        out += struct.pack(f"<{len(tensor.shape)}q", *tensor.shape)
        out += struct.pack("<IQ", tensor.type_id, at)
        begin, size = first_byte + tensor.offset, _padded(tensor.n_bytes)
        body += data[begin : begin + tensor.n_bytes].ljust(size, b"\0")
        at += size
    return out + bytes(-len(out) % _ALIGNMENT) + body


def _padded(n_bytes: int) -> int:
    return n_bytes + -n_bytes % _ALIGNMENT
