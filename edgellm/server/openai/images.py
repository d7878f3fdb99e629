"""Pictures and sounds in a request: content parts of type `image_url`, whose URL is the picture
itself, and of type `input_audio`.

No address is fetched here: image_hosts.py has put in what came from hosts that may be asked, and
whatever address is left is refused.
"""

import base64
import binascii
from collections.abc import Callable

import msgspec

from edgellm.chat import sounds
from edgellm.chat.pictures import MAX_PICTURES, Pictures, check_size
from edgellm.errors import BadRequest

_MAX_ECHO = 40  # characters of a client's word that an error repeats
_BLANKS = b" \t\r\n\v\f"  # base64 may be in lines


class ImageURL(msgspec.Struct):
    url: str


class InputAudio(msgspec.Struct):
    """Of `format` nothing hangs: the bytes say what they are, as in llama-server."""

    data: str
    format: str | None = None


class Gallery:
    """A request's pictures and sounds, as they come. `mark` stands for one in the text: drawn by
    lot for each request, or somebody could write it there himself."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._files: list[bytes] = []
        self._names: list[str] = []

    def add(self, image: ImageURL | str, where: str) -> str:
        """The text for the picture's place. Raises BadRequest that names `where`."""
        url = image.url if isinstance(image, ImageURL) else image
        return self._put(lambda: _file(url), check_size, where)

    def add_audio(self, audio: InputAudio, where: str) -> str:
        """The same for a sound: base64, or a data: URL as for a picture."""
        is_url = audio.data[:5].lower() == "data:"
        url = audio.data if is_url else f"data:;base64,{audio.data}"
        return self._put(lambda: _file(url), sounds.check_size, where)

    def add_file(self, file: bytes, where: str) -> str:
        """A sound as it is."""
        return self._put(lambda: file, sounds.check_size, where)

    def _put(self, file_of: Callable[[], bytes], check: Callable[[bytes], None], where: str) -> str:
        if len(self._files) == MAX_PICTURES:
            raise BadRequest(f"{where}: more than {MAX_PICTURES} pictures or sounds", param=where)
        try:
            file = file_of()
            check(file)
        except BadRequest as error:
            raise BadRequest(f"{where}: {error}", hint=error.hint, param=where) from error
        self._files.append(file)
        self._names.append(where)
        return self._mark

    def pictures(self) -> Pictures | None:
        if not self._files:
            return None
        return Pictures(self._mark, tuple(self._files), tuple(self._names))


def _file(url: str) -> bytes:
    scheme, _, rest = url.partition(":")
    if scheme.lower() != "data":
        raise BadRequest(
            f"{url[:_MAX_ECHO]!r} is not fetched: this server reads no address and no file for "
            "a client",
            hint="send the picture itself: data:image/png;base64,…",
        )
    head, comma, text = rest.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise BadRequest("a data: URL without base64", hint="data:image/png;base64,…")
    try:
        return base64.b64decode(text.encode().translate(None, _BLANKS), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"the base64 is damaged: {error}") from error
