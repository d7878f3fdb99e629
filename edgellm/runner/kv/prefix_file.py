"""The file of one stretch of KV cells: its tokens, and what their cells held. Pure.

    magic   8 bytes
    mac     32 bytes, HMAC-SHA256 of the header
    length  4 bytes, of the header, little-endian
    header  msgpack: Stored
    payload what llama.cpp wrote
    mac     32 bytes, HMAC-SHA256 of the header's mac and the payload

A file that somebody else wrote, or that was cut short, must never get to llama.cpp, which checks
types and sizes only, and whose reader has overrun buffers before. So nothing is parsed before its
mac was found right. The key of the mac includes the fingerprint: all that decides what cells hold,
beside the tokens.
"""

import hashlib
import hmac
from array import array
from collections.abc import Iterable, Iterator, Sequence

import msgspec

MAGIC = b"edgekv1\n"
MAC_BYTES, _LENGTH_BYTES = 32, 4
HEAD_BYTES = len(MAGIC) + MAC_BYTES + _LENGTH_BYTES
_MAX_HEADER_BYTES = 1 << 20  # far more than a piece has tokens


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of cells; or, if `tokens` is empty, all that a sequence held after `start`
    tokens."""

    key: bytes  # names the tokens from the root to its end
    parent: bytes  # of the stretch before it; empty: it begins at the root
    start: int  # tokens before it
    tokens: tuple[int, ...]
    n_bytes: int  # of the payload


class Broken(Exception):
    """A file isn't what it should be. The words are for a log."""


def chain_key(parent: bytes, tokens: Sequence[int]) -> bytes:
    return hashlib.sha256(parent + array("i", tokens).tobytes()).digest()


def prefix_names(tokens: Sequence[int], lengths: Iterable[int]) -> Iterator[bytes]:
    """chain_key(b"", tokens[:length]) of ascending lengths, in one pass."""
    data, digest, done = array("i", tokens).tobytes(), hashlib.sha256(), 0
    for length in lengths:
        end = length * array("i").itemsize
        digest.update(data[done:end])
        done = end
        yield digest.digest()


class Seal:
    """`secret` is this user's; `fingerprint` says of which model, context and library it is."""

    def __init__(self, secret: bytes, fingerprint: bytes) -> None:
        self._key = hmac.digest(secret, fingerprint, "sha256")

    def head(self, stored: Stored) -> bytes:
        header = msgspec.msgpack.encode(stored)
        mac = hmac.digest(self._key, header, "sha256")
        return MAGIC + mac + len(header).to_bytes(_LENGTH_BYTES, "little") + header

    def tail(self, head: bytes, payload: bytes | memoryview) -> bytes:
        return self._payload_mac(head[len(MAGIC) : len(MAGIC) + MAC_BYTES], payload)

    def header_bytes(self, head: bytes) -> int:
        """Of what follows the first HEAD_BYTES bytes. Raises Broken."""
        if len(head) < HEAD_BYTES or head[: len(MAGIC)] != MAGIC:
            raise Broken("not a file of ours")
        length = int.from_bytes(head[HEAD_BYTES - _LENGTH_BYTES : HEAD_BYTES], "little")
        if length > _MAX_HEADER_BYTES:
            raise Broken(f"a header of {length} bytes")
        return length

    def read_header(self, head: bytes, header: bytes) -> Stored:
        """Raises Broken."""
        mac = head[len(MAGIC) : len(MAGIC) + MAC_BYTES]
        if not hmac.compare_digest(mac, hmac.digest(self._key, header, "sha256")):
            raise Broken("its header is not ours, or of another model")
        try:
            stored = msgspec.msgpack.decode(header, type=Stored)
        except msgspec.MsgspecError as error:
            raise Broken(f"its header says something odd: {error}") from error
        if stored.key != chain_key(stored.parent, stored.tokens):
            raise Broken("its key is of other tokens")
        return stored

    def check_payload(self, head: bytes, payload: bytes | memoryview, mac: bytes) -> None:
        """Raises Broken."""
        if not hmac.compare_digest(mac, self.tail(head, payload)):
            raise Broken("what it holds was changed or cut")

    def _payload_mac(self, header_mac: bytes, payload: bytes | memoryview) -> bytes:
        digest = hmac.new(self._key, header_mac, "sha256")
        digest.update(payload)
        return digest.digest()
