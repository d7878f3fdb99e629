"""What binds an answer's text, as OpenAI's clients and llama-server's write it.

`response_format` is OpenAI's; `json_schema` and `grammar` (GBNF) are llama-server's; `regex` and
`choices` are ours. They exclude each other.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw

from edgellm.chat.messages import GBNF, Choices, JSONSchema, Regex, Rule
from edgellm.errors import BadRequest
from edgellm.server.body import json_depth

NULL = Raw(b"null")
MAX_SCHEMA_CHARS, MAX_SCHEMA_DEPTH = 64 * 1024, 32

Choice: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]


class NamedSchema(msgspec.Struct):
    schema: Raw = NULL  # with "name" and "strict" beside it: ours is always strict


class ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema: Raw = NULL  # llama-server's: {"type": "json_object", "schema": {...}}


class Structured(msgspec.Struct, kw_only=True):
    response_format: ResponseFormat | None = None
    json_schema: Raw = NULL
    regex: Annotated[str, Meta(max_length=512)] | None = None
    choices: Annotated[list[Choice], Meta(max_length=1024)] | None = None
    grammar: Annotated[str, Meta(max_length=MAX_SCHEMA_CHARS)] | None = None

    def structure(self) -> Rule | None:
        found = self._structures()
        if len(found) > 1:
            fields = list(found)
            raise BadRequest(f"{' and '.join(fields)} exclude each other", param=fields[-1])
        return next(iter(found.values()), None)

    def structure_field(self) -> str:
        """Which of them asks for it."""
        return next(iter(self._structures()), "response_format")

    def _structures(self) -> dict[str, Rule]:
        asked: tuple[tuple[str, Rule | None], ...] = (
            ("response_format", _format_schema(self.response_format)),
            ("json_schema", _schema(self.json_schema, "json_schema")),
            ("regex", Regex(self.regex) if self.regex else None),
            ("choices", Choices(tuple(self.choices)) if self.choices else None),
            ("grammar", GBNF(self.grammar) if self.grammar else None),
        )
        return {field: rule for field, rule in asked if rule}


def schema_text(raw: Raw, param: str) -> str | None:
    """A JSON schema as it was written, within bounds; None if it is null or absent."""
    text = bytes(raw).decode().strip()
    if text == "null":
        return None
    if not text.startswith("{"):
        raise BadRequest(f"{param}: must be an object", param=param)
    if len(text) > MAX_SCHEMA_CHARS:
        raise BadRequest(
            f"{param}: {len(text)} characters are more than {MAX_SCHEMA_CHARS}", param=param
        )
    if (depth := json_depth(text)) > MAX_SCHEMA_DEPTH:
        raise BadRequest(f"{param}: nests {depth} deep, over {MAX_SCHEMA_DEPTH}", param=param)
    return text


def _format_schema(given: ResponseFormat | None) -> JSONSchema | None:
    if given is None or given.type == "text":
        return None
    if given.type == "json_object":
        any_object = JSONSchema('{"type":"object"}')
        return _schema(given.schema, "response_format.schema") or any_object
    named = given.json_schema.schema if given.json_schema else given.schema
    schema = _schema(named, "response_format.json_schema.schema")
    if schema is None:
        param = "response_format.json_schema"
        raise BadRequest(f"{param}: the schema is missing", param=param)
    return schema


def _schema(raw: Raw, param: str) -> JSONSchema | None:
    text = schema_text(raw, param)
    return None if text is None else JSONSchema(text)
