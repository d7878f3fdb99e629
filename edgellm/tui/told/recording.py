r"""A recording: what a server told, moment after moment, in a file that only grows.

    file    "EDGELLM REC 1\n", then blocks
    block   length (u32), CRC-32 of the packed bytes (u32), kind (u8), packed bytes; little-endian
    packed  zlib of msgpack: a list of [Unix seconds, Status]; of kind 1, zlib's dictionary is the
            block before it, unpacked, since one second is much like the last

A block is on the disk before the next begins, so a power cut costs the last one. Reading ends at
the first block that is not whole.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import BinaryIO

import msgspec

from edgellm.errors import BadRequest
from edgellm.status import Status, Unreadable, read

MAGIC = b"EDGELLM REC 1\n"

_BLOCK = Struct("<IIB")
_ALONE, _CHAINED = 0, 1
_WINDOW_BYTES = 32 << 10  # zlib looks back so far
_MOST_BYTES = 64 << 20  # of a block, unpacked: a stranger's file must not fill the memory
_LEVEL = 6


class Moment(msgspec.Struct, frozen=True, array_like=True):
    at_s: float  # Unix seconds
    status: Status


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[Moment])


class Recorder:
    """`file` is open for reading and writing, and empty or an older recording, which goes on.

    Raises BadRequest for a file that is something else.
    """

    def __init__(
        self, file: BinaryIO, *, block_s: float = 1.0, sync: Callable[[int], None] = os.fsync
    ) -> None:
        self._file, self._block_s, self._sync = file, block_s, sync
        self._held: list[Moment] = []
        self._before = b""
        self.n_moments = 0
        file.seek(0)
        if file.read(1):
            reader = Reader(file)
            for _ in reader:
                pass
            file.seek(reader.whole_bytes)
            file.truncate()
        else:
            file.write(MAGIC)

    def add(self, at_s: float, status: Status) -> None:
        self._held.append(Moment(at_s, status))
        self.n_moments += 1
        if at_s - self._held[0].at_s >= self._block_s or self._block_s <= 0:
            self.flush()

    def flush(self) -> None:
        """Returns when all of it is on the disk."""
        if not self._held:
            return
        body = _encode(self._held)
        packed, kind = _packed(body, self._before)
        self._file.write(_BLOCK.pack(len(packed), zlib.crc32(packed), kind) + packed)
        self._file.flush()
        self._sync(self._file.fileno())
        self._held, self._before = [], body


class Reader:
    """The moments, in their order, up to the end or the cut. Raises BadRequest at the start."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)
        if file.read(len(MAGIC)) != MAGIC:
            name = getattr(file, "name", "this")
            raise BadRequest(f"{name} is no recording", hint="edgellm record FILE makes one")
        self.whole_bytes = len(MAGIC)  # up to the end of the last whole block
        self.is_cut = False

    def __iter__(self) -> Iterator[Moment]:
        before = b""
        while (body := self._body(before)) is not None:
            before = body
            try:
                moments = read(_decoder, body)
            except Unreadable:  # of a version that tells other things
                self.is_cut = True
                return
            yield from moments

    def _body(self, before: bytes) -> bytes | None:
        head = self._file.read(_BLOCK.size)
        if not head:
            return None
        self.is_cut = True
        if len(head) < _BLOCK.size:
            return None
        length, checksum, kind = _BLOCK.unpack(head)
        packed = self._file.read(length) if length <= _MOST_BYTES else b""
        if len(packed) < length or zlib.crc32(packed) != checksum:
            return None
        body = _unpacked(packed, before if kind == _CHAINED else b"")
        if body is not None:
            self.is_cut = False
            self.whole_bytes += _BLOCK.size + length
        return body


@dataclass(frozen=True, slots=True)
class Span:
    """What must be known of a recording before it is played. Unix seconds."""

    first_s: float
    last_s: float
    n_moments: int

    @property
    def length_s(self) -> float:
        return self.last_s - self.first_s

    @property
    def spacing_s(self) -> float:
        """Between two moments."""
        return self.length_s / max(self.n_moments - 1, 1) or 1.0


def span_of(moments: Iterable[Moment]) -> Span | None:
    """None: there are none. Holds one of them at a time: a night is far larger in memory than on
    the disk."""
    first_s, last_s, n_moments = None, 0.0, 0
    for moment in moments:
        first_s = moment.at_s if first_s is None else first_s
        last_s = moment.at_s
        n_moments += 1
    return None if first_s is None else Span(first_s, last_s, n_moments)


def _packed(body: bytes, before: bytes) -> tuple[bytes, int]:
    if not before:
        return zlib.compress(body, _LEVEL), _ALONE
    packer = zlib.compressobj(_LEVEL, zdict=before[-_WINDOW_BYTES:])
    return packer.compress(body) + packer.flush(), _CHAINED


def _unpacked(packed: bytes, before: bytes) -> bytes | None:
    unpacker = zlib.decompressobj(zdict=before[-_WINDOW_BYTES:]) if before else zlib.decompressobj()
    try:
        body = unpacker.decompress(packed, _MOST_BYTES)
    except zlib.error:
        return None
    return body if unpacker.eof else None
