"""The tar format, as much of it as a bundle needs: POSIX ustar, with GNU's long names and sizes.

No `tarfile`: it unpacks what a stranger wrote, devices and links and all, and reads as much as a
header asks for. Here a header is 512 bytes that say where a plain file lies, or it is refused.
Source: GNU tar manual, "Basic Tar Format"; POSIX.1-2017, pax, "ustar Interchange Format".
"""

from collections.abc import Generator
from itertools import count
from typing import Final, Literal, TypeAlias

from edgellm.errors import BadBundle
from edgellm.values import frozen

BLOCK_BYTES: Final = 512
END: Final = bytes(2 * BLOCK_BYTES)
MAX_MEMBERS: Final = 60_000

_MAX_WORDS_BYTES: Final = 64 << 10  # of a long name, or of pax's records
_NAME, _SIZE, _SUM, _PREFIX = slice(0, 100), slice(124, 136), slice(148, 156), slice(345, 500)
_KIND: Final = slice(156, 157)
_REFUSED: Final = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device",
    b"6": "a pipe", b"S": "a file with holes", b"V": "a volume's label", b"M": "a part of a file",
}  # fmt: skip
_PACKED: Final = {
    b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd",
    b"PK\x03\x04": "unzip",
}  # fmt: skip

_LONG_NAME, _PAX, _PAX_GLOBAL, _FOLDER = b"L", b"x", b"g", b"5"
_WORDS: Final = (_LONG_NAME, _PAX, _PAX_GLOBAL)
_PLAIN_KINDS: Final = (b"0", b"\0", b"7")


@frozen
class Member:
    """A plain file; its bytes follow the header, filled up to a whole block."""

    name: str
    size_bytes: int


@frozen
class Want:
    """So many bytes are to be sent; of `what` is "skip" their content doesn't matter."""

    n_bytes: int
    what: Literal["read", "skip"] = "read"


Step: TypeAlias = Want | Member


def padding(size_bytes: int) -> int:
    return -size_bytes % BLOCK_BYTES


def header(name: str, size_bytes: int, modified_at_s: int) -> bytes:
    """Of a plain file; a name that ustar has no room for goes before it, as GNU tar writes it."""
    written = name.encode()
    if len(written) <= 100:
        return _header(written, b"", b"0", size_bytes, modified_at_s)
    for at in (n for n, byte in enumerate(written) if byte == ord("/")):
        prefix, rest = written[:at], written[at + 1 :]
        if len(prefix) <= 155 and 0 < len(rest) <= 100:
            return _header(rest, prefix, b"0", size_bytes, modified_at_s)
    long = written + b"\0"
    named = _header(b"././@LongLink", b"", _LONG_NAME, len(long), 0)
    after = _header(written[:100], b"", b"0", size_bytes, modified_at_s)
    return named + long + bytes(padding(len(long))) + after


def _header(name: bytes, prefix: bytes, kind: bytes, size_bytes: int, modified_at_s: int) -> bytes:
    block = bytearray(BLOCK_BYTES)
    block[: len(name)] = name
    block[100:124] = b"0000644\0" + b"0000000\0" * 2  # mode, owner, group
    block[_SIZE] = _number(size_bytes)
    block[136:148] = _number(modified_at_s)
    block[_KIND] = kind
    block[257:265] = b"ustar\x0000"
    block[345 : 345 + len(prefix)] = prefix
    block[_SUM] = b"%06o\0 " % _checksum(bytes(block))
    return bytes(block)


def _number(n: int) -> bytes:
    """Eleven octal digits; beyond 8 GiB in base 256, as GNU, BSD and Python have it."""
    return b"%011o\0" % n if n < 8**11 else b"\x80" + n.to_bytes(11, "big")


def members() -> Generator[Step, bytes, None]:
    """Reads an archive without reading: send what each Want wants, until it ends.

    A Member is told where its bytes begin; who looked at them sends b"" and is then asked to skip
    what is the archive's rest of it. Raises BadBundle for whatever is no plain file or folder.
    """
    long = _Long()
    for n_before in count():
        block = yield Want(BLOCK_BYTES)
        if block == bytes(BLOCK_BYTES):
            return
        if not block and n_before == 0:
            raise BadBundle("there is nothing in it", hint="does whoever sends it say why?")
        if n_before == MAX_MEMBERS:
            raise BadBundle(f"the archive has more than {MAX_MEMBERS} members")
        name, kind, size_bytes = _parsed(block)
        if kind in _WORDS:
            words = yield Want(_words_bytes(size_bytes))
            long.note(kind, words[:size_bytes])
            continue
        name, size_bytes = long.taken(name, size_bytes)
        _check_kind(name, kind)
        if kind != _FOLDER and not name.endswith("/"):
            yield Member(name.removeprefix("./"), size_bytes)
        yield Want(size_bytes + padding(size_bytes), "skip")


class _Long:
    """What stands before a header that has no room for it."""

    def __init__(self) -> None:
        self._name: str | None = None
        self._size: int | None = None

    def note(self, kind: bytes, words: bytes) -> None:
        if kind == _LONG_NAME:
            self._name = _text(words.rstrip(b"\0"))
        elif kind == _PAX:
            self._name, self._size = _of_pax(words, self._name, self._size)

    def taken(self, name: str, size_bytes: int) -> tuple[str, int]:
        """Once: it is the next header's."""
        found = self._name or name, size_bytes if self._size is None else self._size
        self._name = self._size = None
        return found


def _words_bytes(size_bytes: int) -> int:
    if size_bytes > _MAX_WORDS_BYTES:
        raise BadBundle(f"the archive has a name of {size_bytes} bytes")
    return size_bytes + padding(size_bytes)


def _check_kind(name: str, kind: bytes) -> None:
    if kind not in (*_PLAIN_KINDS, _FOLDER):
        what = _REFUSED.get(kind, f"of the kind {kind!r}")
        raise BadBundle(f"the archive's {name!r} is {what}, and a bundle has plain files only")


def _parsed(block: bytes) -> tuple[str, bytes, int]:
    """Name, kind and size. Raises BadBundle."""
    if len(block) < BLOCK_BYTES:
        raise BadBundle("the archive ends in the middle", hint="was it copied whole?")
    for begin, tool in _PACKED.items():
        if block.startswith(begin):
            raise BadBundle("that is a packed archive", hint=f"unpack it with {tool} first")
    if block[257:262] != b"ustar" or _octal(block[_SUM]) != _checksum(block):
        raise BadBundle("that is no tar archive, or a damaged one", hint="was it copied whole?")
    name, is_posix = block[_NAME].split(b"\0")[0], block[257:263] == b"ustar\0"
    if is_posix and (prefix := block[_PREFIX].split(b"\0")[0]):
        name = prefix + b"/" + name
    return _text(name), block[_KIND], _size(block[_SIZE])


def _checksum(block: bytes) -> int:
    """Of all bytes, the sum's own place counted as blanks."""
    return sum(block) - sum(block[_SUM]) + 8 * ord(" ")


def _size(field: bytes) -> int:
    if field[0] == 0x80:
        size = int.from_bytes(field[1:], "big")
        if size >= 1 << 60:
            raise BadBundle(f"the archive has a file of {size} bytes")
        return size
    return _octal(field)


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not set(digits) <= set(b"01234567"):
        raise BadBundle("the archive is damaged", hint="was it copied whole?")
    return int(digits or b"0", 8)


def _text(name: bytes) -> str:
    """What isn't UTF-8 is no safe name: whoever takes it will see."""
    return name.decode(errors="replace")


def _of_pax(words: bytes, name: str | None, size: int | None) -> tuple[str | None, int | None]:
    """ "17 path=models/x\\n", one record after the other. Raises BadBundle."""
    while words:
        length, blank, _ = words.partition(b" ")
        n_bytes = int(length) if length.isdigit() and len(length) < 6 else 0
        record = words[len(length) + 1 : n_bytes]
        if not blank or n_bytes > len(words) or not record.endswith(b"\n"):
            raise BadBundle("the archive has a damaged record", hint="was it copied whole?")
        key, _, value = record[:-1].partition(b"=")
        if key == b"path":
            name = _text(value)
        elif key == b"size":
            size = int(value) if value.isdigit() and len(value) < 19 else -1
        elif key.startswith(b"GNU.sparse"):
            raise BadBundle("the archive has a file with holes, and a bundle has none")
        words = words[n_bytes:]
    if size is not None and size < 0:
        raise BadBundle("the archive has a file whose size is no number")
    return name, size
