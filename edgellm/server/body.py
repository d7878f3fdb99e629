"""Bytes to a typed value: one decode, strict, and every error names the field.

msgspec refuses what Python's own json lets through: NaN and Infinity, 1e999, lone surrogates,
bad UTF-8, words after the end; and it gives up on nesting where the interpreter does.
"""

import re
from typing import TypeVar

import msgspec

from edgellm.errors import BadRequest

T = TypeVar("T")

_FIELD = re.compile(r"`\$\.?([^`]*)`$")


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Raises BadRequest."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        words, _, where = str(error).partition(" - at ")
        match = _FIELD.search(where)
        param = match[1] if match and match[1] else None
        message = f"{param}: {_lower_first(words)}" if param else _lower_first(words)
        raise BadRequest(message, param=param) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not JSON: {_lower_first(str(error))}") from error
    except RecursionError as error:
        raise BadRequest("the body is nested too deep") from error


def json_depth(text: str) -> int:
    """How deep objects and arrays nest in valid JSON."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _lower_first(words: str) -> str:
    return words if words.startswith("JSON") else words[:1].lower() + words[1:]
