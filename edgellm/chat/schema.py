"""What a JSON schema says: of a tool's parameters, for the formats that don't write JSON; and of
the properties that an object may have."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias

from edgellm.chat.messages import Tool
from edgellm.errors import BadRequest

Schema: TypeAlias = Mapping[str, Any]
Scalar: TypeAlias = str | int | float | None

_MAX_ITEMS = 65_536  # of an array: no answer has more, and grammars count in 32 bits

_APPLICATORS = ("allOf", "anyOf", "oneOf", "$ref", "patternProperties", "additionalProperties")
_DEFINITIONS = ("$defs", "definitions")
_MAX_BRANCHES = 16  # that are looked into: every property may name them all
_ALL_OF_A_TYPE: Mapping[str, tuple[Scalar, ...]] = {"null": (None,), "boolean": (True, False)}
_OF_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions")
_OF_SCHEMAS = ("anyOf", "oneOf", "prefixItems")
_COMBINING = ("allOf", "anyOf", "oneOf")
_OF_ONE_SCHEMA = ("items", "additionalProperties")


def parameters(tool: Tool) -> Schema:
    """An object's schema, closed at every depth: a call invents no parameters."""
    schema: Schema = closed({"properties": {}} | dict(tool.parameters) | {"type": "object"})
    return schema


def members(whole: Schema) -> dict[str, tuple[Schema, bool]]:
    """An object's properties in their order: a schema that stands alone, and if it is required."""
    required, found = whole.get("required") or (), whole.get("properties")
    return {
        name: (_alone(whole, schema if isinstance(schema, Mapping) else {}), name in required)
        for name, schema in (found if isinstance(found, Mapping) else {}).items()
    }


def items(whole: Schema) -> Schema:
    """An array's items: a schema that stands alone."""
    found = whole.get("items")
    return _alone(whole, found) if isinstance(found, Mapping) else {}


def types(schema: Schema) -> frozenset[str]:
    """JSON types that a value may have; empty where the schema doesn't say."""
    own = _own_types(_resolved(schema))
    if own:
        return own
    found = [_own_types(one) for one in _branches(schema)]
    return frozenset().union(*found) if all(found) else frozenset()


def _own_types(resolved: Schema) -> frozenset[str]:
    given = resolved.get("type")
    if isinstance(given, str):
        return frozenset({given})
    if isinstance(given, list):
        return frozenset(one for one in given if isinstance(one, str))
    if "const" in resolved:
        return frozenset({type_of(resolved["const"])})
    if isinstance(resolved.get("enum"), list):
        return frozenset(type_of(value) for value in resolved["enum"])
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
    kinds, kind = types(schema), type_of(value)
    if not kinds:
        return kind in ("object", "array")
    return kind in kinds or (kind == "number" and "integer" in kinds)


def options(schema: Schema) -> tuple[Scalar, ...] | None:
    """The only values that there are, if the schema counts them up and none holds others."""
    resolved, found = _resolved(schema), list[Scalar]()
    own = _own_options(resolved)
    if own or not {"const", "enum", "type"}.isdisjoint(resolved):
        return own
    for branch in _branches(schema):
        more = _own_options(branch)
        if more is None:
            return None
        found += more
    return tuple(found) or None


def _own_options(resolved: Schema) -> tuple[Scalar, ...] | None:
    if "const" in resolved or isinstance(resolved.get("enum"), list):
        counted = [resolved["const"]] if "const" in resolved else resolved["enum"]
        if not all(value is None or isinstance(value, str | int | float) for value in counted):
            return None
        return tuple(value for value in counted if may_be(resolved, value)) or None
    kind = resolved.get("type")
    return _ALL_OF_A_TYPE.get(kind) if isinstance(kind, str) else None


def _branches(schema: Schema) -> list[Schema]:
    """Of a schema that is one of several, or in `allOf` another one: those, their references
    followed. Only these are looked into, and not what they combine in turn."""
    resolved = _resolved(schema)
    for key in ("anyOf", "oneOf", "allOf"):
        found = resolved.get(key)
        if not isinstance(found, list) or (key == "allOf" and len(found) != 1):
            continue
        if len(found) <= _MAX_BRANCHES and all(isinstance(one, Mapping) for one in found):
            return [_resolved(_alone(schema, one)) for one in found]
    return []


def _alone(whole: Schema, part: Schema) -> Schema:
    """With the definitions that it may refer to."""
    return {**{key: whole[key] for key in _DEFINITIONS if key in whole}, **part}


def _resolved(schema: Schema) -> Schema:
    """What a local `$ref` means, one step: `#/$defs/Name`."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return schema
    found = _referred(schema, reference)
    return found if isinstance(found, Mapping) and "$ref" not in found else {}


def _referred(whole: Any, reference: str) -> Any:
    """What is there; None: nothing."""
    for step in reference.removeprefix("#/").split("/"):
        whole = whole.get(step) if isinstance(whole, Mapping) else None
    return whole


def closed(schema: Any) -> Any:
    """An object takes no properties but those it names, unless it says that it takes others.

    By the standard it takes any, and a small model goes on inventing them until its tokens are used
    up. Pydantic's schemas say nothing; llama.cpp, too, reads that as "no others"
    (grammars/README.md). Where schemas are combined, one would forbid what the other names: these
    stay open, and so do the definitions that are combined.
    """
    return _closed(schema, _combined_definitions(schema))


def _closed(schema: Any, combined: Collection[str], is_part: bool = False) -> Any:
    """`combined`: references to what is a part of something. `is_part`: this is, too."""
    if not isinstance(schema, dict):
        return schema
    is_part = is_part or _combines(schema)
    found = {k: _closed_inside(k, value, combined, is_part) for k, value in schema.items()}
    is_open = is_part or any(schema.get(key, False) is not False for key in _APPLICATORS)
    if isinstance(schema.get("properties"), dict) and not is_open:
        found["properties"] = {**found["properties"], **_only_required(schema)}
        found["additionalProperties"] = False
    return found


def _combines(schema: Mapping[str, Any]) -> bool:
    """Whether more than one of its keywords may name an object's properties."""
    every = schema.get("allOf")
    n_named = bool(schema.get("properties") or schema.get("required"))
    n_parts = len(every) if isinstance(every, list) else 0
    return n_named + n_parts + sum(key in schema for key in ("$ref", "anyOf", "oneOf")) > 1


def _combined_definitions(schema: Any) -> frozenset[str]:
    """References to all that is combined with something, by way of others, too."""
    found, waiting = set[str](), [*_references_of_parts(schema)]
    while waiting:
        reference = waiting.pop()
        if reference not in found:
            found.add(reference)
            waiting += _references_of_parts(_referred(schema, reference), is_part=True)
    return frozenset(found)


def _references_of_parts(schema: Any, is_part: bool = False) -> Iterator[str]:
    if isinstance(schema, list):
        for one in schema:
            yield from _references_of_parts(one, is_part)
    if isinstance(schema, dict):
        is_part = is_part or _combines(schema)
        if is_part and isinstance(reference := schema.get("$ref"), str):
            yield reference
        for key, value in schema.items():
            yield from _references_of_parts(value, is_part and key in _COMBINING)


def _only_required(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Properties that hand-written schemas require and say nothing more of: any value will do."""
    required, named = schema.get("required"), schema["properties"]
    names = required if isinstance(required, list) else ()
    return {name: {} for name in names if isinstance(name, str) and name not in named}


def _closed_inside(keyword: str, value: Any, combined: Collection[str], is_part: bool) -> Any:
    if keyword in _OF_SCHEMAS_BY_NAME and isinstance(value, dict):
        return {
            name: _closed(schema, combined, f"#/{keyword}/{name}" in combined)
            for name, schema in value.items()
        }
    if keyword in _OF_SCHEMAS and isinstance(value, list):
        return [_closed(schema, combined, is_part and keyword in _COMBINING) for schema in value]
    return _closed(value, combined) if keyword in _OF_ONE_SCHEMA else value


def type_of(value: Any) -> str:
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
