"""JSON schemas as llguidance takes them: without what binds nothing, and what it can't read. Pure.

It refuses keywords that it doesn't know. Some of them say nothing by their value, and a format that
nobody knows is a remark (JSON Schema, Validation, 7.2.1): Pydantic writes `path`, `binary` and
`password`, others `uniqueItems: false`. It stops at the name of a dialect that it hasn't heard of,
and at bounds as wide as a double or 64 bits, which .NET and Java write where they mean any number.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from edgellm.chat.schema import closed

Schema: TypeAlias = dict[str, Any]
IsRead: TypeAlias = Callable[[str], bool]

# A test holds these against llguidance: the formats that it writes.
FORMATS = frozenset({
    "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri",
})  # fmt: skip
_SAY_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "uniqueItems": (False,),
    "unevaluatedItems": (True, {}),
    "unevaluatedProperties": (True, {}),
    "propertyNames": (True, {}, {"type": "string"}),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
}
# The dialects that it knows (its crate `referencing`), with or without a "#" at the end.
_DIALECTS = frozenset({
    "http://json-schema.org/draft-04/schema", "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-07/schema", "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
})  # fmt: skip
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_WIDEST = 2**63 - 1
_OF_SCHEMAS_BY_NAME = ("properties", "patternProperties", "$defs", "definitions")
_OF_SCHEMAS = frozenset({
    "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "items", "prefixItems", "contains",
    "additionalItems", "additionalProperties", "propertyNames",
})  # fmt: skip
_JSON_RULE = re.compile(r"r_\d+: %json (?=\{)")  # the whole of a rule: a literal may say %json, too


def binding(schema: Any) -> Any:
    """What of a schema binds, its objects closed as a tool's are."""
    return closed(_rewritten(schema, lambda one: _without(one, _is_remark)))


def lenient(schema: Any) -> Any:
    """The same for whoever lets llguidance pass over keywords: without what it stops at all the
    same."""
    return _rewritten(schema, lambda one: _without(one, _is_stop))


def without_unread(grammar: str, is_read: IsRead) -> str:
    """A grammar of ours (lark.py) without the regular expressions of its schemas that aren't read:
    a lenient schema's keyword that isn't understood binds nothing."""
    return "\n".join(_line_without(line, is_read) for line in grammar.split("\n"))


def _line_without(line: str, is_read: IsRead) -> str:
    found = _JSON_RULE.match(line)
    if not found:
        return line
    schema, end = json.JSONDecoder().raw_decode(line, found.end())
    if not schema["x-guidance"].get("lenient"):
        return line
    read = _rewritten(schema, lambda one: _without_patterns(one, is_read))
    return f"{line[: found.end()]}{json.dumps(read)}{line[end:]}"


def _without(schema: Schema, is_left_out: Callable[[str, Any], bool]) -> Schema:
    return {key: value for key, value in schema.items() if not is_left_out(key, value)}


def _is_stop(key: str, value: Any) -> bool:
    if key == "$schema":
        return not (isinstance(value, str) and value.removesuffix("#") in _DIALECTS)
    return key in _BOUNDS and isinstance(value, int | float) and abs(value) >= _WIDEST


def _is_remark(key: str, value: Any) -> bool:
    if _is_stop(key, value):
        return True
    if key == "format":
        return isinstance(value, str) and value not in FORMATS
    return any(value == one and type(value) is type(one) for one in _SAY_NOTHING.get(key, ()))


def _without_patterns(schema: Schema, is_read: IsRead) -> Schema:
    kept = dict(schema)
    if isinstance(kept.get("pattern"), str) and not is_read(kept["pattern"]):
        del kept["pattern"]
    by_name = kept.get("patternProperties")
    if isinstance(by_name, dict) and not all(map(is_read, by_name)):
        for keyword in ("patternProperties", "additionalProperties"):  # which are additional?
            kept.pop(keyword, None)
    return kept


def _rewritten(schema: Any, change: Callable[[Schema], Schema]) -> Any:
    """Every schema inside first. What is data (enum, const, default ...) stays as it is."""
    if isinstance(schema, list):
        return [_rewritten(one, change) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return change({key: _inside(key, value, change) for key, value in schema.items()})


def _inside(keyword: str, value: Any, change: Callable[[Schema], Schema]) -> Any:
    if keyword in _OF_SCHEMAS_BY_NAME and isinstance(value, dict):
        return {name: _rewritten(one, change) for name, one in value.items()}
    return _rewritten(value, change) if keyword in _OF_SCHEMAS else value
