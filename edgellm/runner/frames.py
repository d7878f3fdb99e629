"""The pipe's format: a frame is a 4-byte little-endian length and a msgpack list of messages.

One frame a step, not one a token: a wake-up of the reader costs more than what it reads. msgpack
and not pickle, since the worker has parsed a file from the internet.
"""

from typing import Generic, TypeVar

import msgspec

from edgellm.errors import EdgellmError

_LENGTH_BYTES = 4
_MAX_FRAME_BYTES = 256 << 20  # a batch of embeddings is the largest thing that travels

_encoder = msgspec.msgpack.Encoder()
T = TypeVar("T")


def encode_frame(messages: list[T]) -> bytes:
    body = _encoder.encode(messages)
    return len(body).to_bytes(_LENGTH_BYTES, "little") + body


class FrameReader(Generic[T]):
    """Bytes in, however they were cut; whole messages out."""

    def __init__(self, message: object) -> None:
        self._decoder: msgspec.msgpack.Decoder[list[T]] = msgspec.msgpack.Decoder(list[message])  # type: ignore[valid-type]
        self._held = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """Raises EdgellmError when the other side doesn't speak this format."""
        self._held += data
        messages: list[T] = []
        while len(self._held) >= _LENGTH_BYTES:
            length = int.from_bytes(self._held[:_LENGTH_BYTES], "little")
            if length > _MAX_FRAME_BYTES:
                raise EdgellmError(f"a frame of {length} bytes: the pipe is out of step")
            end = _LENGTH_BYTES + length
            if len(self._held) < end:
                break
            try:
                messages += self._decoder.decode(bytes(self._held[_LENGTH_BYTES:end]))
            except msgspec.MsgspecError as error:
                raise EdgellmError(f"a frame that can't be read: {error}") from error
            del self._held[:end]
        return messages
