"""Bytes to a typed value: one decode, strict, and every error names the field.

msgspec refuses what Python's own json lets through: NaN and Infinity, 1e999, lone surrogates,
bad UTF-8, words after the end; and it gives up on nesting where the interpreter does.
"""

import re
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, inspect

from edgellm.errors import BadRequest

T = TypeVar("T")
Bytes: TypeAlias = bytes | bytearray

INT32_MAX = 2**31 - 1  # of the whole numbers that reach native code
Text: TypeAlias = Annotated[str, Meta(max_length=8 * 1024 * 1024)]  # that becomes tokens

_FIELD = re.compile(r"`\$\.?([^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]*)`$")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"')  # possessive: no way back is kept for it
_MAX_SHOWN = 40  # characters of a value that is refused


def decode(decoder: msgspec.json.Decoder[T], body: Bytes) -> T:
    """Raises BadRequest."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        words, _, where = str(error).partition(" - at ")
        match = _FIELD.search(where)
        outer, missing = match[1] if match else "", _MISSING.search(words)
        if missing:
            field = f"{outer}.{missing[1]}" if outer else missing[1]
            raise BadRequest(f"{field}: is missing", param=field) from error
        param = outer or None
        words = _out_of_range(decoder.type, body, outer) or _lower_first(words)
        raise BadRequest(f"{param}: {words}" if param else words, param=param) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not JSON: {_lower_first(str(error))}") from error
    except RecursionError as error:
        raise BadRequest("the body is nested too deep") from error


def _out_of_range(kind: Any, body: Bytes, param: str) -> str | None:
    """The value and its range, where a number of the outermost object is out of it, or is none."""
    outermost = inspect.type_info(kind)
    fields = outermost.fields if isinstance(outermost, inspect.StructType) else ()
    found = next((field for field in fields if field.encode_name == param), None)
    types = getattr(found.type, "types", (found.type,)) if found else ()
    number = next((t for t in types if isinstance(t, inspect.IntType | inspect.FloatType)), None)
    if number is None:
        return None
    given = msgspec.json.decode(body, type=dict[str, msgspec.Raw])[param]
    value = raw_text(given, param)
    value = value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}…"
    words = "a number" if isinstance(number, inspect.FloatType) else "a whole number"
    low = f"above {number.gt}" if number.ge is None else f"from {number.ge}"
    return f"{value} is not {words} {low} to {number.le}"


def raw_text(raw: msgspec.Raw, param: str) -> str:
    """A field that was kept as it was written: msgspec has not looked into its strings.
    Raises BadRequest."""
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{param}: is not UTF-8: {error.reason}", param=param) from error


def small_text(raw: msgspec.Raw, param: str, most_bytes: int) -> str:
    """The same of a field that is short wherever it means something. Raises BadRequest: what is
    longer isn't looked at, as whatever takes as long as it is holds up everybody's tokens."""
    if (n_bytes := memoryview(raw).nbytes) > most_bytes:
        raise BadRequest(f"{param}: {n_bytes} bytes are more than {most_bytes}", param=param)
    return raw_text(raw, param)


def json_value(text: str, param: str) -> Any:
    """What the text of such a field stands for, or of a string that holds JSON: its numbers may be
    none. Raises BadRequest."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise BadRequest(f"{param}: is not JSON: {error}", param=param) from error
    except RecursionError as error:  # whoever passed it over as Raw stood less deep
        raise BadRequest(f"{param}: is nested too deep", param=param) from error


def is_object(text: str) -> bool:
    """Whether it is a JSON object that anybody could read: a call's arguments, whole."""
    try:
        return isinstance(json_value(text, ""), dict)
    except BadRequest:
        return False


def json_depth(text: str) -> int:
    """How deep objects and arrays nest in valid JSON."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _lower_first(words: str) -> str:
    return words if words.startswith("JSON") else words[:1].lower() + words[1:]
