"""A past call's arguments as the object that most templates want of them. Pure.

They are the model's own words, and an answer that was cut off ends inside of them. A template that
is given text where it wants an object refuses the whole conversation, so what stands there is
closed, and what is no object is an empty one.
"""

import json
from typing import Any

_CLOSING = {"{": "}", "[": "]"}


def as_object(text: str) -> dict[str, Any]:
    """All members that are whole, and of a string that was cut off its beginning."""
    for attempt in (text, *_closed(text)):
        try:
            value = json.loads(attempt)
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, dict) else {}
    return {}


def _closed(text: str) -> tuple[str, str]:
    """With what was begun brought to its end; and up to the last member that was whole."""
    open_ones: list[str] = []  # what closes them, the innermost last
    whole = 0  # up to here values are whole, but for the open ones
    in_string = is_escaped = False
    for at, character in enumerate(text):
        if in_string:
            in_string = is_escaped or character != '"'
            is_escaped = character == "\\" and not is_escaped
        elif character == '"':
            in_string = True
        elif character == ",":
            whole = at
        elif character in _CLOSING:
            open_ones.append(_CLOSING[character])
            whole = at + 1
        elif open_ones and character == open_ones[-1]:
            open_ones.pop()
            whole = at + 1
    closing = "".join(reversed(open_ones))
    written = text[:-1] if is_escaped else text
    return written + '"' * in_string + closing, text[:whole] + closing
