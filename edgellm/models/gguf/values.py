"""GGUF's values, read from bytes that a stranger wrote.

The rule: no count or length from the file is believed before it is held against a bound: the
file's size where it is known, and the limits below in any case. Three outcomes, as with every
reader here: a value; `ShortError`, when a longer prefix would help; BadGGUF, when none could.

Long arrays stay bytes. A vocabulary of 150,000 tokens takes some milliseconds to step over and
a hundred to decode, and most callers want two of its tokens.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from edgellm.errors import BadGGUF
from edgellm.models.gguf.known_arrays import KNOWN_ARRAYS
from edgellm.values import frozen

MAX_STRING_BYTES: Final = 16 << 20
MAX_HEADER_BYTES: Final = 256 << 20
FETCH_AGAIN: Final = "fetch the file again"  # the hint where a file is shorter than it says

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
# enum gguf_type
UINT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = (
    2, 4, 5, 6, 7, 8, 9, 10, 11, 12
)  # fmt: skip
SCALARS: Final = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: struct.Struct("<I"), 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<?"),
    10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip


@frozen
class NumberArray:
    data: bytes
    item: struct.Struct

    def __len__(self) -> int:
        return len(self.data) // self.item.size

    def __iter__(self) -> Iterator[int | float | bool]:
        return (value for (value,) in self.item.iter_unpack(self.data))


def number_array(numbers: Sequence[int]) -> NumberArray:
    """The array that a file with these counts would have."""
    return NumberArray(struct.pack(f"<{len(numbers)}I", *numbers), SCALARS[UINT32])


@frozen
class StringArray:
    """`data` is the array as the file has it: a length in 8 bytes, the text, and again."""

    data: bytes
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        return (item.decode("utf-8", "replace") for item in self.raw())

    def __getitem__(self, index: int) -> str:
        """Walks there: a millisecond for each 20,000 strings passed."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        at, length_at = 0, _U64.unpack_from
        for _ in range(index):
            at += 8 + length_at(self.data, at)[0]
        (length,) = length_at(self.data, at)
        return self.data[at + 8 : at + 8 + length].decode("utf-8", "replace")

    def raw(self) -> Iterator[bytes]:
        at, data = 0, self.data
        for _ in range(self.count):
            start = at + 8
            at = start + _U64.unpack_from(data, at)[0]
            yield data[start:at]


Value: TypeAlias = int | float | bool | str | NumberArray | StringArray


class ShortError(Exception):
    """The prefix ends before byte `end`."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class Cursor:
    """A place in the prefix, moving forward only."""

    def __init__(self, data: bytes, file_bytes: int | None) -> None:
        self.data, self.at = data, 0
        self.file_bytes = file_bytes

    def need(self, end: int) -> None:
        """Returns if the bytes up to `end` are here. Raises ShortError, BadGGUF."""
        if end <= len(self.data):
            return
        if self.file_bytes is not None and end > self.file_bytes:
            raise BadGGUF(
                f"the file is cut off, or lies: its header goes on to byte {end:,}, "
                f"the file has {self.file_bytes:,}",
                hint=FETCH_AGAIN,
            )
        if end > MAX_HEADER_BYTES:
            raise BadGGUF(f"a header of {end:,} bytes is beyond the limit of {MAX_HEADER_BYTES:,}")
        raise ShortError(end)

    def take(self, n: int) -> bytes:
        start, end = self.at, self.at + n
        self.need(end)
        self.at = end
        return self.data[start:end]

    def scalar(self, code: struct.Struct) -> int | float | bool:
        self.need(self.at + code.size)
        (value,) = code.unpack_from(self.data, self.at)
        self.at += code.size
        assert isinstance(value, int | float)
        return value

    def u32(self) -> int:
        return int(self.scalar(_U32))

    def peek_u32(self) -> int:
        self.need(self.at + 4)
        (value,) = _U32.unpack_from(self.data, self.at)
        return int(value)

    def u64(self) -> int:
        return int(self.scalar(_U64))

    def string(self) -> str:
        length = self.u64()
        if length > MAX_STRING_BYTES:
            raise BadGGUF(
                f"a string of {length:,} bytes is beyond the limit of {MAX_STRING_BYTES:,}"
            )
        return self.take(length).decode("utf-8", "replace")

    def value(self, key: str) -> Value:
        type_id = self.u32()
        if type_id == STRING:
            return self.string()
        if type_id != ARRAY:
            return self.scalar(_scalar_code(type_id, key))
        item_id, count = self.u32(), self.u64()
        if item_id == STRING:
            return self._strings(count)
        item = _scalar_code(item_id, key)
        return NumberArray(self.take(count * item.size), item)

    def _strings(self, count: int) -> StringArray:
        start = self.at
        self.need(start + 8 * count)
        end = KNOWN_ARRAYS.find_end(self.data, start, count)
        if end is None:
            end = self._walk(start, count)
            KNOWN_ARRAYS.add(self.data, start, end, count)
        self.at = end
        return StringArray(self.data[start:end], count)

    def _walk(self, at: int, count: int) -> int:
        """Where `count` strings are over; tight, because a vocabulary and its merges are
        300,000."""
        data, length_at, longest = self.data, _U64.unpack_from, MAX_STRING_BYTES
        try:
            for _ in range(count):
                (length,) = length_at(data, at)
                if length > longest:
                    raise BadGGUF(
                        f"a string of {length:,} bytes is beyond the limit of {longest:,}"
                    )
                at += 8 + length
        except struct.error:
            self.need(at + 8)
            raise  # unreachable: unpack_from fails only where need() does
        self.need(at)
        return at


def _scalar_code(type_id: int, key: str) -> struct.Struct:
    code = SCALARS.get(type_id)
    if code is None:
        raise BadGGUF(f"{key!r} has the value type {type_id}, which GGUF does not know")
    return code
