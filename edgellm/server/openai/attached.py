"""Documents in a request, and files whose content is text: what the model is shown of them.

A file is read as UTF-8, whatever its name says. Any other kind (PDF, Word, sound) would need a
reader of its own, and is refused.
"""

import base64
import binascii

from edgellm.errors import BadRequest

_MAX_ECHO = 40  # characters of a client's word that an error repeats
_PDF = "%PDF-"  # some have no byte that is no text


def document(text: str, name: str | None) -> str:
    """With marks around it, and its name where it has one: there may be several, and other words
    beside them."""
    source = f"<source>{name}</source>\n" if name else ""
    return f"<document>\n{source}{text}\n</document>\n"


def file(data: str | None, name: str | None, where: str) -> str:
    """`data`: in base64, or as a data: URL. Raises BadRequest that names `where`."""
    if data is None:
        raise BadRequest(
            f"{where}: a file without file_data; none is kept here, and none is fetched",
            hint="send the file itself in base64, or its text",
            param=where,
        )
    try:
        text = base64.b64decode(data.rpartition(",")[2], validate=True).decode()
    except (binascii.Error, ValueError):
        text = _PDF
    if text.startswith(_PDF) or "\0" in text:
        raise BadRequest(
            f"{where}: the file {(name or '')[:_MAX_ECHO]!r} is no text in UTF-8, and no other "
            "kind is read here",
            hint="send its text",
            param=where,
        )
    return document(text, name)
