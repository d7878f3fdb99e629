"""What a tool's JSON schema says of its parameters, for the formats that don't write JSON."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from edgellm.chat.messages import Tool
from edgellm.errors import BadRequest

Schema: TypeAlias = Mapping[str, Any]

_MAX_ITEMS = 65_536  # of an array: no answer has more, and grammars count in 32 bits

_APPLICATORS = ("allOf", "anyOf", "oneOf", "$ref", "patternProperties", "additionalProperties")
_DEFINITIONS = ("$defs", "definitions")
_OF_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions")
_OF_SCHEMAS = ("anyOf", "oneOf", "prefixItems")
_OF_ONE_SCHEMA = ("items", "additionalProperties")


def parameters(tool: Tool) -> Schema:
    """An object's schema, closed at every depth: a call invents no parameters."""
    closed: Schema = _closed({"properties": {}} | dict(tool.parameters) | {"type": "object"})
    return closed


def members(whole: Schema) -> dict[str, tuple[Schema, bool]]:
    """An object's properties in their order: a schema that stands alone, and if it is required."""
    shared = {key: whole[key] for key in _DEFINITIONS if key in whole}
    required, found = whole.get("required") or (), whole.get("properties")
    return {
        name: ({**shared, **schema} if isinstance(schema, Mapping) else shared, name in required)
        for name, schema in (found if isinstance(found, Mapping) else {}).items()
    }


def types(schema: Schema) -> frozenset[str]:
    """JSON types that a value may have; empty where the schema doesn't say."""
    schema = _resolved(schema)
    given = schema.get("type")
    if isinstance(given, str):
        return frozenset({given})
    if isinstance(given, list):
        return frozenset(one for one in given if isinstance(one, str))
    if "const" in schema:
        return frozenset({_type_of(schema["const"])})
    if isinstance(schema.get("enum"), list):
        return frozenset(_type_of(value) for value in schema["enum"])
    for key in ("anyOf", "oneOf"):
        branches = schema.get(key)
        if isinstance(branches, list) and all(isinstance(one, Mapping) for one in branches):
            found = [types(one) for one in branches]
            return frozenset().union(*found) if all(found) else frozenset()
    return frozenset()


def item_bounds(schema: Schema, whose: str) -> tuple[int, int | None]:
    """An array's least and most items; None: there is no most. Raises BadRequest."""
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    for name, n in (("minItems", least), ("maxItems", 0 if most is None else most)):
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise BadRequest(f"{whose}: {name} is no count: {str(n)[:40]}", param="tools")
    if most is not None and most < least:
        raise BadRequest(f"{whose}: minItems is {least}, maxItems {most}", param="tools")
    return min(least, _MAX_ITEMS), None if most is None else min(most, _MAX_ITEMS)


def may_be(schema: Schema, value: Any) -> bool:
    """Whether the schema's types allow this value. Where it names none: an object or an array."""
    kinds, kind = types(schema), _type_of(value)
    if not kinds:
        return kind in ("object", "array")
    return kind in kinds or (kind == "number" and "integer" in kinds)


def string_options(schema: Schema) -> tuple[str, ...] | None:
    """The only strings that there are, if the schema counts them up."""
    schema = _resolved(schema)
    options = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(options, list) or not all(isinstance(one, str) for one in options):
        return None
    return tuple(options) or None


def _resolved(schema: Schema) -> Schema:
    """What a local `$ref` means, one step: `#/$defs/Name`."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return schema
    found: Any = schema
    for step in reference[2:].split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) and "$ref" not in found else {}


def _closed(schema: Any) -> Any:
    """An object that says nothing of properties it doesn't name takes none of them.

    Where schemas are combined, that would forbid what the other one names: it stays open there.
    """
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed_inside(key, value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not any(k in schema for k in _APPLICATORS):
        closed["additionalProperties"] = False
    return closed


def _closed_inside(keyword: str, value: Any) -> Any:
    if keyword in _OF_SCHEMAS_BY_NAME and isinstance(value, dict):
        return {name: _closed(schema) for name, schema in value.items()}
    if keyword in _OF_SCHEMAS and isinstance(value, list):
        return [_closed(schema) for schema in value]
    return _closed(value) if keyword in _OF_ONE_SCHEMA else value


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"
