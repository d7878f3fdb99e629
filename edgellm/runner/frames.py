"""The pipe's format: a frame is a 4-byte little-endian length and a msgpack list of messages.

One frame for each step, not for each token: waking the reader costs more than what it reads.
msgpack and not pickle, because the worker has parsed a file from the internet.
"""

from typing import Generic, TypeVar

import msgspec

from edgellm.errors import BadRequest, EdgellmError

_LENGTH_BYTES = 4
_MAX_FRAME_BYTES = 256 << 20  # far more than any one message may have

_encoder = msgspec.msgpack.Encoder()
T = TypeVar("T")


def encode_frame(messages: list[T]) -> bytes:
    body = _encoder.encode(messages)
    return len(body).to_bytes(_LENGTH_BYTES, "little") + body


def encode_request(message: object) -> bytes:
    """A frame of one message with a client's text in it. Raises BadRequest if that can't be
    encoded: it has half a surrogate pair."""
    try:
        return encode_frame([message])
    except UnicodeEncodeError as error:
        raise BadRequest(f"the text is not valid Unicode: {error.reason}") from error


def encode_frames(messages: list[T], most_bytes: int = _MAX_FRAME_BYTES) -> bytes:
    """One frame, or several where one would be longer than the reader accepts. Raises EdgellmError
    if a single message is."""
    frame = encode_frame(messages)
    if len(frame) - _LENGTH_BYTES <= most_bytes:
        return frame
    if len(messages) == 1:
        raise EdgellmError(f"a message of {len(frame)} bytes; the pipe takes {most_bytes}")
    half = len(messages) // 2
    return encode_frames(messages[:half], most_bytes) + encode_frames(messages[half:], most_bytes)


class FrameReader(Generic[T]):
    """Bytes in, however they were cut; whole messages out."""

    def __init__(self, message: object) -> None:
        self._decoder: msgspec.msgpack.Decoder[list[T]] = msgspec.msgpack.Decoder(list[message])  # type: ignore[valid-type]
        self._held = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """Raises EdgellmError when the other side doesn't speak this format."""
        held: bytes | bytearray = data  # a step's frame nearly always comes in one piece
        if self._held:
            self._held += data
            held = self._held
        messages, begin = self._whole_frames(held)
        if held is self._held:
            del self._held[:begin]
        else:
            self._held += held[begin:]
        return messages

    def _whole_frames(self, held: bytes | bytearray) -> tuple[list[T], int]:
        """Their messages, and where the first frame begins that is not whole."""
        messages: list[T] = []
        begin = 0
        while len(held) - begin >= _LENGTH_BYTES:
            body = begin + _LENGTH_BYTES
            length = int.from_bytes(held[begin:body], "little")
            if length > _MAX_FRAME_BYTES:
                raise EdgellmError(f"a frame of {length} bytes: the pipe is out of step")
            if len(held) < body + length:
                break
            begin = body + length
            try:
                messages += self._decoder.decode(held[body:begin])
            except msgspec.MsgspecError as error:
                raise EdgellmError(f"a frame that can't be read: {error}") from error
        return messages, begin
