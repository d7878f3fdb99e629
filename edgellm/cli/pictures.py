"""Pictures from this disk on their way into a question."""

import base64
from collections.abc import Sequence
from pathlib import Path

from edgellm.chat.pictures import check_size
from edgellm.errors import BadRequest
from edgellm.files import path_of


def data_urls(paths: Sequence[str]) -> tuple[str, ...]:
    """Raises BadRequest that names the file."""
    return tuple(_data_url(path_of(path)) for path in paths)


def _data_url(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadRequest(
            f"{path}: {error.strerror}", hint="--image takes a picture's file, relative to here"
        ) from error
    try:
        check_size(data)
    except BadRequest as error:
        raise BadRequest(f"{path}: {error}", hint=error.hint) from error
    # The server looks at the bytes; the type is there because a data URL has one.
    return f"data:image/*;base64,{base64.b64encode(data).decode()}"
