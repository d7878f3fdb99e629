"""Bytes to a typed value: one decode, strict, and every error names the field.

msgspec refuses what Python's own json lets through: NaN and Infinity, 1e999, lone surrogates,
bad UTF-8, words after the end; and it gives up on nesting where the interpreter does.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
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
_STEP = re.compile(r"[^.\[\]]+|\[[^]]*\]")  # of a field's path: a name, or an index in brackets
_NO_CHOICE = re.compile(r"[Ii]nvalid enum value (.+)$")
_EMPTY = re.compile(r"expected `(?:array|str|object)` of length >= 1$", re.IGNORECASE)
_NO_INT = re.compile(r"[Ee]xpected `int\b.*, got `float`$")
_WHOLE = re.compile(rb"(-?\d+)\.0+")
_BOM = b"\xef\xbb\xbf"  # where editors of Windows begin a file


def decode(decoder: msgspec.json.Decoder[T], body: Bytes) -> T:
    """Raises BadRequest."""
    if body.startswith(_BOM):
        body = body[len(_BOM) :]
    try:
        return _decoded(decoder, body)
    except UnicodeDecodeError as error:
        raise _not_utf_8(body) from error
    except msgspec.DecodeError as error:
        if "UTF-8" in str(error):  # msgspec 0.23 says it so, 0.22 as above
            raise _not_utf_8(body) from error
        why = f"is not JSON: {_lower_first(str(error))}" if body.strip() else "is empty"
        raise BadRequest(f"the body {why}") from error
    except RecursionError as error:
        raise BadRequest("the body is nested too deep") from error


def _decoded(decoder: msgspec.json.Decoder[T], body: Bytes) -> T:
    """Raises BadRequest for a wrong value. msgspec stops there: so looking further, for the error's
    words, may meet what is broken behind it, and raises what `decode` catches."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        words, _, where = str(error).partition(" - at ")
        match = _FIELD.search(where)
        outer, missing = match[1] if match else "", _MISSING.search(words)
        if _NO_INT.search(words) and (body_with_ints := _with_ints(decoder.type, body)):
            return _decoded(decoder, body_with_ints)
        if missing:
            field = f"{outer}.{missing[1]}" if outer else missing[1]
            raise BadRequest(f"{field}: is missing", param=field) from error
        param = outer or None
        words = _better(words, decoder.type, body, outer) or _lower_first(words)
        raise BadRequest(f"{param}: {words}" if param else words, param=param) from error


def _with_ints(kind: Any, body: Bytes) -> bytes | None:
    """The body with 16.0 as 16 in its outermost object; None where there is no such number. Clients
    that count in floating point write these, and llama-server, vLLM and Ollama read them."""
    fields = _fields(kind, body)
    whole = {name: found[1] for name, raw in fields.items() if (found := _WHOLE.fullmatch(raw))}
    if not whole:
        return None
    return msgspec.json.encode({**fields, **{name: msgspec.Raw(n) for name, n in whole.items()}})


def _fields(kind: Any, body: Bytes) -> Mapping[str, msgspec.Raw]:
    """The outermost object's fields as they are written, but only those that the struct knows: of
    others there may be more than there is memory for."""
    found, names = _raw_decoder(kind)
    if not names:  # a list, where a struct's would be its elements'
        return {}
    given = found.decode(body)
    raws = {name: getattr(given, field) for field, name in names.items()}
    return {name: raw for name, raw in raws.items() if memoryview(raw).nbytes}


@cache
def _raw_decoder(kind: Any) -> tuple[msgspec.json.Decoder[Any], Mapping[str, str]]:
    """One that keeps the struct's fields as they are written, and the name of the field that each
    of its attributes holds."""
    info = inspect.type_info(kind)
    fields = info.fields if isinstance(info, inspect.StructType) else ()
    names = {f"field_{i}": field.encode_name for i, field in enumerate(fields)}
    struct = msgspec.defstruct(
        "Fields", [(field, msgspec.Raw, msgspec.Raw()) for field in names], rename=names
    )
    return msgspec.json.Decoder(struct), names


def _better(words: str, kind: Any, body: Bytes, param: str) -> str | None:
    """What msgspec leaves out: which values there are, or the one that was sent."""
    if _EMPTY.search(words):
        return "must not be empty"
    kinds = [*_kinds_at(inspect.type_info(kind), _STEP.findall(param))]
    if no_choice := _NO_CHOICE.search(words):
        known = [
            value for one in kinds if isinstance(one, inspect.LiteralType) for value in one.values
        ]
        return f"{_shown(no_choice[1])} is none of {', '.join(map(str, known))}" if known else None
    return _out_of_range(kinds, kind, body, param)


def _kinds_at(kind: inspect.Type, steps: Sequence[str]) -> Iterator[inspect.Type]:
    """The types that a value may have, so many steps inside one of this type."""
    if isinstance(kind, inspect.Metadata):
        yield from _kinds_at(kind.type, steps)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _kinds_at(one, steps)
    elif not steps:
        yield kind
    elif isinstance(kind, inspect.StructType):
        for field in kind.fields:
            if field.encode_name == steps[0]:
                yield from _kinds_at(field.type, steps[1:])
    elif isinstance(kind, inspect.CollectionType):
        yield from _kinds_at(kind.item_type, steps[1:])


def _out_of_range(
    kinds: Iterable[inspect.Type], outermost: Any, body: Bytes, param: str
) -> str | None:
    """The value and its range, where a number of the outermost object is out of it, or is none."""
    number = next((t for t in kinds if isinstance(t, inspect.IntType | inspect.FloatType)), None)
    if number is None or number.le is None or len(_STEP.findall(param)) > 1:
        return None
    value = _shown(raw_text(_fields(outermost, body)[param], param))
    words = "a number" if isinstance(number, inspect.FloatType) else "a whole number"
    low = f"above {number.gt}" if number.ge is None else f"from {number.ge}"
    return f"{value} is not {words} {low} to {number.le}"


def _shown(value: str) -> str:
    return value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}…"


def _not_utf_8(body: Bytes) -> BadRequest:
    words = "the body is not UTF-8"
    hint = "PowerShell 5 sends it as such with -ContentType 'application/json; charset=utf-8'"
    try:
        str(body, "utf-8")
    except UnicodeDecodeError as error:  # msgspec counts from the string's begin
        words += f": byte {error.start} is 0x{body[error.start]:02x}"
    return BadRequest(words, hint=hint)


def raw_text(raw: msgspec.Raw, param: str) -> str:
    """The text of a field that was kept as it was written. Raises BadRequest where it is not UTF-8,
    which msgspec has not checked there."""
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{param}: is not UTF-8: {error.reason}", param=param) from error


def object_text(raw: msgspec.Raw, param: str) -> str | None:
    """The same for a field that must be an object, which is not looked into; None for null."""
    text = raw_text(raw, param).strip()
    if text == "null":
        return None
    if not text.startswith("{"):
        raise BadRequest(f"{param}: must be an object", param=param)
    return text


def small_text(raw: msgspec.Raw, param: str, most_bytes: int) -> str:
    """The same for a field that is never long in earnest. Raises BadRequest for a longer one
    without reading it: that would hold up everybody's tokens."""
    if (n_bytes := memoryview(raw).nbytes) > most_bytes:
        raise BadRequest(f"{param}: {n_bytes} bytes are more than {most_bytes}", param=param)
    return raw_text(raw, param)


def json_value(text: str, param: str) -> Any:
    """The value of such a field's text, or of a string that holds JSON. Raises BadRequest: msgspec
    hasn't checked numbers there either."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise BadRequest(f"{param}: is not JSON: {error}", param=param) from error
    except RecursionError as error:  # msgspec passed over it as Raw from less deep
        raise BadRequest(f"{param}: is nested too deep", param=param) from error


def is_object(text: str) -> bool:
    """Whether it is a whole JSON object, as a call's arguments must be."""
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
