"""Pictures that a client sends: what their first bytes say, and what is too much. Pure.

Nothing is decoded here. A file of some KiB may stand for an image of gigabytes, so its size is read
from its header, as the decoder will read it (stb_image 2.30, vendored in llama.cpp), and refused
before anybody makes room for it. The formats are those of stb_image's that clients really send.
"""

import zlib
from dataclasses import dataclass
from typing import Final

from edgellm.chat import sounds
from edgellm.errors import BadRequest
from edgellm.models.anatomy.projectors import Modality

MAX_PICTURES: Final = 16  # of one request, sounds among them
MAX_BYTES: Final = 10 << 20  # of one file; all together are bounded by the request's body
MAX_PIXELS: Final = 32_000_000  # 96 MB as RGB, and a progressive JPEG's twice more
MAX_ASPECT: Final = 200  # the long side over the short one: a rounded one must not become 0
_MAX_SCANS: Final = 64  # a progressive JPEG's, each a walk over all of it; common ones have ten

_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's colour types
_ADAM7: Final = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip
_INFLATE_BYTES: Final = 1 << 20

# JPEG's markers. Before a frame's header stb_image takes these and no others.
_SOI, _DRI, _SOS = 0xD8, 0xDD, 0xDA
_FRAMES: Final = (0xC0, 0xC1, 0xC2)
_SEGMENTS: Final = frozenset({0xDB, 0xC4, _DRI, 0xFE, *range(0xE0, 0xF0)})


@dataclass(frozen=True, slots=True)
class Pictures:
    """`mark` is the text that stands in the prompt where each of the files is seen, or heard, in
    order; `names` say where the client wrote them, for errors that blame one."""

    mark: str
    files: tuple[bytes, ...]
    names: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        return sum(map(len, self.files))

    @property
    def modalities(self) -> frozenset[Modality]:
        """By what the bytes are, whatever the client calls them: so is decoded what comes."""
        return frozenset("audio" if sounds.format_of(one) else "vision" for one in self.files)


def check_shown(prompt: str, pictures: Pictures) -> None:
    """Raises BadRequest where a chat template left one out, or shows one twice."""
    n_shown = prompt.count(pictures.mark)
    if n_shown != len(pictures.files):
        n_files = len(pictures.files)
        raise BadRequest(
            f"the model's chat template shows {n_shown} of {n_files} pictures or sounds",
            hint="put them into the user's messages",
            param="messages",
        )


def check_size(data: bytes) -> None:
    """Raises BadRequest: no picture, or too large a one. Costs microseconds."""
    if len(data) > MAX_BYTES:
        raise BadRequest(f"{len(data)} bytes are more than the {MAX_BYTES} that a picture may have")
    width, height = _size(data)
    if not width or not height:
        raise BadRequest(f"a picture of {width} × {height} pixels shows nothing")
    if width * height > MAX_PIXELS:
        raise BadRequest(
            f"{width} × {height} are {width * height} pixels, more than {MAX_PIXELS}",
            hint="scale it down: models see a few million at most",
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadRequest(
            f"{width} × {height} pixels: one side is over {MAX_ASPECT} times the other"
        )


def check_depth(data: bytes) -> None:
    """Raises BadRequest for a small file that would keep the decoder busy, or fill the memory.

    Costs what inflating a PNG costs: not for a thread that others wait for.
    """
    if data.startswith(_PNG):
        _check_inflated(data)
    elif data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > _MAX_SCANS:
        raise BadRequest(f"a JPEG of more than {_MAX_SCANS} scans")


_PNG: Final = b"\x89PNG\r\n\x1a\n"


def _size(data: bytes) -> tuple[int, int]:
    if data.startswith(_PNG):
        return _png_size(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if data.startswith(b"BM"):
        return _bmp_size(data)
    raise BadRequest("this is no picture that is read here", hint="send PNG, JPEG, GIF or BMP")


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise BadRequest("a PNG without its header")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _bmp_size(data: bytes) -> tuple[int, int]:
    """A height below zero: the top row comes first."""
    if len(data) < 26:
        raise BadRequest("a BMP without its header")
    if int.from_bytes(data[14:18], "little") == 12:
        return int.from_bytes(data[18:20], "little"), int.from_bytes(data[20:22], "little")
    height = int.from_bytes(data[22:26], "little", signed=True)
    return int.from_bytes(data[18:22], "little"), abs(height)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Of the first frame. Source: stb_image.h stbi__decode_jpeg_header, stbi__process_marker."""
    at = 2
    while True:
        at = data.find(b"\xff", at)  # bytes between two segments are passed over
        while 0 <= at < len(data) and data[at] == 0xFF:
            at += 1
        if at < 0 or at + 3 > len(data):
            raise BadRequest("a JPEG that ends before it says how large it is")
        marker, length = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
        if marker in _FRAMES:
            return (
                int.from_bytes(data[at + 6 : at + 8], "big"),
                int.from_bytes(data[at + 4 : at + 6], "big"),
            )
        if marker not in _SEGMENTS or length < 2:
            raise BadRequest(f"a JPEG with a strange segment (marker {marker:#04x})")
        at += 1 + length


def _check_inflated(data: bytes) -> None:
    """stb_image inflates all that comes, up to 4 GiB, before it looks whether it fits."""
    most, inflate, n_bytes = _png_bytes(data), zlib.decompressobj(), 0
    try:
        rest = _idat(data)
        while rest and not inflate.eof:
            n_bytes += len(inflate.decompress(rest, _INFLATE_BYTES))
            rest = inflate.unconsumed_tail
            if n_bytes > most:
                raise BadRequest(f"a PNG whose data is more than the {most} bytes it needs")
    except zlib.error as error:
        raise BadRequest("a PNG whose data is damaged") from error
    if n_bytes < most:
        raise BadRequest(f"a PNG that is cut off: {n_bytes} of {most} bytes")


def _png_bytes(data: bytes) -> int:
    """Rows with the filter's byte before each, as they come out of the inflater."""
    width, height = _png_size(data)
    depth, colour, interlaced = data[24], data[25], data[28]
    n_bits = depth * _CHANNELS.get(colour, 4)

    def rows(width: int, height: int) -> int:
        return height * (1 + (width * n_bits + 7) // 8) if width else 0

    if not interlaced:
        return rows(width, height)
    return sum(rows(-((x - width) // dx), -((y - height) // dy)) for x, y, dx, dy in _ADAM7)


def _idat(data: bytes) -> bytes:
    at, parts = len(_PNG), []
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"IDAT":
            parts.append(data[at + 8 : at + 8 + length])
        elif kind == b"IEND":
            break
        at += 12 + length
    return b"".join(parts)
