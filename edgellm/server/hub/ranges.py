"""Which part of a file a request wants: RFC 9110, section 14.

One range is answered. Several at once, another unit and what is no range are passed over, as the
RFC lets a server do: then the whole file is sent. No client of a hub asks for several.
"""

import re

from edgellm.values import frozen

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.ASCII | re.IGNORECASE)


@frozen
class Span:
    """Bytes [start, end)."""

    start: int
    end: int
    is_part: bool = False  # was asked for as a range, be it of all

    @property
    def n_bytes(self) -> int:
        return self.end - self.start


def span_of(header: str | None, size_bytes: int) -> Span | None:
    """None: the range begins behind the file's end, and nothing satisfies it (416)."""
    whole = Span(0, size_bytes)
    match = _RANGE.fullmatch(header) if header else None
    if match is None or not (match[1] or match[2]):
        return whole
    if not match[1]:  # the last so many
        n_bytes = min(int(match[2]), size_bytes)
        return Span(size_bytes - n_bytes, size_bytes, True) if n_bytes else None
    start, last = int(match[1]), int(match[2]) if match[2] else size_bytes - 1
    if match[2] and last < start:
        return whole
    return Span(start, min(last + 1, size_bytes), True) if start < size_bytes else None


def is_open(header: str | None) -> bool:
    """Whether it wants all from somewhere on: a download, and no look at a part."""
    match = _RANGE.fullmatch(header) if header else None
    return match is None or not match[2]
