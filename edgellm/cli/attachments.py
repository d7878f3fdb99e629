"""Pictures and sounds from this disk on their way into a question."""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

from edgellm.chat import sounds
from edgellm.chat.pictures import check_size
from edgellm.errors import BadRequest
from edgellm.files import path_of
from edgellm.tui.told.questions import ImageURL, InputAudio, Part


def image_parts(paths: Sequence[str]) -> tuple[Part, ...]:
    """Raises BadRequest that names the file."""
    hint = "--image takes a picture's file, relative to here"
    files = (_checked(path_of(path), check_size, hint) for path in paths)
    # The server looks at the bytes; the type is there because a data URL has one.
    urls = (f"data:image/*;base64,{base64.b64encode(file).decode()}" for file in files)
    return tuple(Part("image_url", image_url=ImageURL(url)) for url in urls)


def audio_parts(paths: Sequence[str]) -> tuple[Part, ...]:
    """Raises BadRequest that names the file."""
    hint = "--audio takes a sound's file, relative to here"
    files = (_checked(path_of(path), sounds.check_size, hint) for path in paths)
    return tuple(
        Part(
            "input_audio",
            input_audio=InputAudio(base64.b64encode(file).decode(), sounds.format_of(file)),
        )
        for file in files
    )


def _checked(path: Path, check: Callable[[bytes], None], hint: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}", hint=hint) from error
    try:
        check(data)
    except BadRequest as error:
        raise BadRequest(f"{path}: {error}", hint=error.hint) from error
    return data
