"""Writes small GGUF files, right ones and wrong ones, for the tests of several rooms."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from edgellm.models.quants import tensor_bytes

UINT8, INT32, UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 0, 5, 4, 6, 7, 8, 9, 10
INT64, FLOAT64 = 11, 12
_CODES = {
    UINT8: "B", UINT32: "I", INT32: "i", FLOAT32: "f", BOOL: "?", UINT64: "Q", INT64: "q",
    FLOAT64: "d",
}  # fmt: skip


@dataclass(frozen=True)
class Typed:
    """A value whose GGUF type is not the one that its Python type suggests."""

    type_id: int
    value: object


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    type_id: int = 0
    offset: int | None = None  # None: where it belongs
    n_dims: int | None = None  # None: as many as the shape has


def text(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value_bytes(value: object) -> bytes:
    """Type and value. int → UINT32, float → FLOAT32, list[str], list[int] (INT32), list[float]."""
    match value:
        case Typed(type_id, inner):
            return struct.pack("<I" + _CODES[type_id], type_id, inner)
        case bool():
            return struct.pack("<I?", BOOL, value)
        case int():
            return struct.pack("<II", UINT32, value)
        case float():
            return struct.pack("<If", FLOAT32, value)
        case str() | bytes():
            return struct.pack("<I", STRING) + text(value)
        case list():
            return _array_bytes(value)
    raise TypeError(value)


def _array_bytes(items: list[object]) -> bytes:
    """Of strings, or of numbers all of the first one's type."""
    if items and isinstance(items[0], str | bytes):
        texts = b"".join(text(item) for item in items if isinstance(item, str | bytes))
        return struct.pack("<IIQ", ARRAY, STRING, len(items)) + texts
    kinds = {bool: BOOL, int: INT32, float: FLOAT32}
    item_id = kinds[type(items[0])] if items else UINT8
    code = f"<IIQ{len(items)}{_CODES[item_id]}"
    return struct.pack(code, ARRAY, item_id, len(items), *items)


def gguf_bytes(
    metadata: dict[str, object] | Sequence[tuple[str, object]] = (),
    tensors: Sequence[Tensor] = (),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    n_keys: int | None = None,
    n_tensors: int | None = None,
    alignment: int = 32,
    data: bool = True,
) -> bytes:
    """A whole file; its tensors are zeros."""
    keys = list(metadata.items()) if isinstance(metadata, dict) else list(metadata)
    out = magic + struct.pack(
        "<IQQ",
        version,
        len(tensors) if n_tensors is None else n_tensors,
        len(keys) if n_keys is None else n_keys,
    )
    out += b"".join(text(key) + value_bytes(value) for key, value in keys)
    offset = 0
    for tensor in tensors:
        n_dims = len(tensor.shape) if tensor.n_dims is None else tensor.n_dims
        out += text(tensor.name) + struct.pack("<I", n_dims)
        out += struct.pack(f"<{len(tensor.shape)}q", *tensor.shape)
        at = offset if tensor.offset is None else tensor.offset
        out += struct.pack("<IQ", tensor.type_id, at)
        offset += _padded_bytes(tensor, alignment)
    if tensors:
        out += bytes(-len(out) % alignment)
    return out + bytes(offset) if data else out


def _padded_bytes(tensor: Tensor, alignment: int) -> int:
    try:
        n_bytes = tensor_bytes(tensor.type_id, tensor.shape)
    except Exception:  # noqa: BLE001 — a wrong tensor on purpose: its place doesn't matter
        return 0
    if not 0 <= n_bytes < 1 << 24:
        return 0
    return n_bytes + -n_bytes % alignment


def llama_bytes(n_layers: int = 2, n_vocab: int = 8, **extra: object) -> bytes:
    """A llama-shaped model: 16 wide, 2 heads, 1 of them for KV. `extra` keys go without prefix."""
    d, ff = 16, 32
    metadata: dict[str, object] = {
        "general.architecture": "llama",
        "general.file_type": 0,
        "general.license": "mit",
        "llama.block_count": n_layers,
        "llama.context_length": 128,
        "llama.embedding_length": d,
        "llama.feed_forward_length": ff,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 1,
        "tokenizer.ggml.tokens": [f"<{n}>" for n in range(n_vocab)],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    } | extra
    tensors = [Tensor("token_embd.weight", (d, n_vocab))]
    for il in range(n_layers):
        block = f"blk.{il}."
        tensors += [
            Tensor(block + "attn_norm.weight", (d,)),
            Tensor(block + "attn_q.weight", (d, d)),
            Tensor(block + "attn_k.weight", (d, d // 2)),
            Tensor(block + "attn_v.weight", (d, d // 2)),
            Tensor(block + "attn_output.weight", (d, d)),
            Tensor(block + "ffn_norm.weight", (d,)),
            Tensor(block + "ffn_gate.weight", (d, ff)),
            Tensor(block + "ffn_up.weight", (d, ff)),
            Tensor(block + "ffn_down.weight", (ff, d)),
        ]
    tensors += [Tensor("output_norm.weight", (d,)), Tensor("output.weight", (d, n_vocab))]
    return gguf_bytes(metadata, tensors)


def with_keys(data: bytes, keys: dict[str, object]) -> bytes:
    """A GGUF with more keys, put first; they are padded, so that all data moves by whole blocks."""
    (n_keys,) = struct.unpack_from("<Q", data, 16)
    added = b"".join(text(key) + value_bytes(value) for key, value in keys.items())
    padding = text("padding.length") + value_bytes("")
    padding = text("padding.length") + value_bytes("-" * (-(len(added) + len(padding)) % 32))
    count = struct.pack("<Q", n_keys + len(keys) + 1)
    return data[:16] + count + added + padding + data[24:]
