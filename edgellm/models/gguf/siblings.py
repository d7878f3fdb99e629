"""The other headers of a repository, without reading its vocabulary again.

Files of one model that differ only in their quantization have the same vocabulary, some MiB, in
the same place; what differs stands behind it: the last keys and the tensors. So once one header
was read in full (`Sibling`), a window from just before the vocabulary's end to the tensor data is
enough for each of the others: one small range instead of the whole header.

What is read is not taken on trust. The vocabulary must end in the same bytes, every tensor must
have the name and shape that it has in the sibling, and the file must be exactly as long as its
tensors say. Where one of these fails, `read_behind` gives None and the file is read from its
start. What stands before the vocabulary is the sibling's: nobody sees there that "X-128K" has
another context than "X", so who asks takes files of one name only as siblings. The file on this
disk is read once more, all of it, before it is served.
"""

from collections.abc import Iterator
from typing import Final

from edgellm.errors import BadGGUF
from edgellm.models.gguf.header import GGUFHeader, NeedBytes, TensorInfo, tensor_info
from edgellm.models.gguf.values import Cursor, NumberArray, ShortError, StringArray, Value
from edgellm.values import frozen

_LONG_BYTES: Final = 64 << 10  # an array from here on is a part of the vocabulary
_ANCHOR_BYTES: Final = 512
_SLACK_BYTES: Final = 4 << 10  # keys before or behind that one file has and the other lacks
_START_BYTES: Final = 24  # magic, version, two counts
_OWN_KEYS: Final = ("general.file_type", "split.", "quantize.")  # of a file, not of the model


@frozen
class Sibling:
    """A header that was read in full. Offsets are the file's."""

    header: GGUFHeader
    shapes: dict[str, tuple[int, ...]]
    shared: dict[str, Value]  # the model's keys, up to the vocabulary's end
    end: int  # of the vocabulary
    anchor: bytes  # its last bytes, and the name that comes behind them

    @property
    def window(self) -> tuple[int, int]:
        """Which bytes of another file to ask for."""
        start = max(self.end - _ANCHOR_BYTES - _SLACK_BYTES, 0)
        return start, self.header.data_offset + _SLACK_BYTES


def sibling_of(prefix: bytes, header: GGUFHeader) -> Sibling | None:
    """None for a header without a vocabulary worth skipping. `prefix`: what it was read from."""
    cursor = Cursor(prefix, None)
    cursor.at = _START_BYTES
    shared: dict[str, Value] = {}
    walked: dict[str, Value] = {}
    end = 0
    for _ in header.metadata:
        key = cursor.string()
        walked[key] = value = cursor.value(key)
        if isinstance(value, NumberArray | StringArray) and len(value.data) >= _LONG_BYTES:
            shared, end = dict(walked), cursor.at
    if not end or not header.tensors:
        return None
    shared = {key: value for key, value in shared.items() if not key.startswith(_OWN_KEYS)}
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    cursor.at = end
    cursor.string()  # without it, an array of equal numbers would end in many places
    return Sibling(header, shapes, shared, end, prefix[end - _ANCHOR_BYTES : cursor.at])


def read_behind(
    sibling: Sibling, window: bytes, start: int, file_bytes: int
) -> GGUFHeader | NeedBytes | None:
    """The header of a file from `window`, its bytes from `start` on.

    NeedBytes counts from the file's start, as everywhere. None: this file is no sibling.
    """
    at = window.find(sibling.anchor)
    if at < 0:
        return None
    cursor = Cursor(window, None)
    cursor.at = at + _ANCHOR_BYTES
    try:
        return _Behind(sibling, cursor, start, file_bytes).header()
    except ShortError as short:
        end = start + short.end
        return NeedBytes(end, end) if end <= file_bytes else None
    except BadGGUF:
        return None


class _Behind:
    def __init__(self, sibling: Sibling, cursor: Cursor, start: int, file_bytes: int) -> None:
        self.sibling, self.cursor, self.start, self.file_bytes = sibling, cursor, start, file_bytes
        self.alignment = sibling.header.alignment

    def header(self) -> GGUFHeader | None:
        own = self._keys()
        if own is None:
            return None
        tensors = self._tensors()
        if tensors is None:
            return None
        metadata = self.sibling.shared | own
        version, data_offset = self.sibling.header.version, self._data_offset(bool(tensors))
        return GGUFHeader(version, metadata, tensors, data_offset, self.alignment)

    def _keys(self) -> dict[str, Value] | None:
        """Up to the first tensor, or to the file's end where it holds none."""
        own: dict[str, Value] = {}
        while not self._is_whole(0, has_tensors=False):
            before = self.cursor.at
            key = self.cursor.string()
            if key in self.sibling.shapes:
                self.cursor.at = before
                return own
            if key in own or key in self.sibling.shared:
                return None
            own[key] = self.cursor.value(key)
        return own

    def _tensors(self) -> tuple[TensorInfo, ...] | None:
        found = tuple(self._walk())
        data_bytes = found[-1].offset + found[-1].n_bytes if found else 0
        missing = self.file_bytes - self._data_offset(bool(found)) - data_bytes
        return found if 0 <= missing < self.alignment else None

    def _walk(self) -> Iterator[TensorInfo]:
        """Those that follow, until the file is as long as they say."""
        expected, seen = 0, set[str]()
        while not self._is_whole(expected, bool(seen)):
            tensor = tensor_info(self.cursor)
            known = self.sibling.shapes.get(tensor.name)
            if known != tensor.shape or tensor.name in seen or tensor.offset != expected:
                return
            seen.add(tensor.name)
            yield tensor
            expected += tensor.n_bytes + -tensor.n_bytes % self.alignment

    def _data_offset(self, has_tensors: bool) -> int:
        end = self.start + self.cursor.at
        return end + (-end % self.alignment if has_tensors else 0)

    def _is_whole(self, data_bytes: int, has_tensors: bool) -> bool:
        """Whether the file ends with these tensors. Writers pad the last one, or don't."""
        missing = self.file_bytes - self._data_offset(has_tensors) - data_bytes
        return -self.alignment < missing < self.alignment
