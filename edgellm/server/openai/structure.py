"""What binds an answer's text, as OpenAI's clients and llama-server's write it.

`response_format` is OpenAI's; `json_schema` and `grammar` (GBNF) are llama-server's; `regex` and
`choices` are ours; `structured_outputs` and `guided_...` are vLLM's words for the same. They
exclude each other.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw

from edgellm.chat.messages import GBNF, Choices, JSONSchema, Regex, Rule
from edgellm.errors import BadRequest
from edgellm.server.body import json_depth, json_value, object_text, raw_text
from edgellm.server.openai.unserved import NULL, Unserved, check_says_nothing

MAX_SCHEMA_CHARS, MAX_SCHEMA_DEPTH = 64 * 1024, 32

Choice: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]
Options: TypeAlias = Annotated[list[Choice], Meta(max_length=1024)]
Pattern: TypeAlias = Annotated[str, Meta(max_length=512)]
Grammar: TypeAlias = Annotated[str, Meta(max_length=MAX_SCHEMA_CHARS)]

ANY_OBJECT = JSONSchema('{"type":"object"}')
_UNSERVED = ("whitespace_pattern", "structural_tag")  # of vLLM's


class NamedSchema(msgspec.Struct):
    schema: Raw = NULL  # with "name" and "strict" beside it: ours is always strict


class ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema: Raw = NULL  # llama-server's: {"type": "json_object", "schema": {...}}


class StructuredOutputs(msgspec.Struct, forbid_unknown_fields=True):
    """vLLM's."""

    json: Raw = NULL
    regex: Pattern | None = None
    choice: Options | None = None
    grammar: Grammar | None = None
    json_object: bool | None = None
    disable_fallback: bool | None = None  # how vLLM goes about it; they change nothing here
    disable_any_whitespace: bool | None = None
    disable_additional_properties: bool | None = None
    whitespace_pattern: Raw = NULL
    structural_tag: Raw = NULL

    def check_served(self) -> None:
        """Raises BadRequest that names the first field that asks for what isn't there."""
        for name in _UNSERVED:
            check_says_nothing(getattr(self, name), f"structured_outputs.{name}")


class Structured(Unserved, kw_only=True):
    response_format: ResponseFormat | None = None
    json_schema: Raw = NULL
    regex: Pattern | None = None
    choices: Options | None = None
    grammar: Grammar | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Raw = NULL
    guided_regex: Pattern | None = None
    guided_choice: Options | None = None
    guided_grammar: Grammar | None = None

    def structure(self) -> Rule | None:
        if self.structured_outputs:
            self.structured_outputs.check_served()
        found = self.rules()
        if len(found) > 1:
            fields = list(found)
            raise BadRequest(f"{' and '.join(fields)} exclude each other", param=fields[-1])
        return next(iter(found.values()), None)

    def structure_field(self) -> str:
        """Which of them asks for it."""
        return next(iter(self.rules()), "response_format")

    def rules(self) -> dict[str, Rule]:
        """What binds the text, by the field that says so."""
        outputs = self.structured_outputs or StructuredOutputs()
        asked: tuple[tuple[str, Rule | None], ...] = (
            ("response_format", _format_schema(self.response_format)),
            ("json_schema", schema_rule(self.json_schema, "json_schema")),
            ("regex", _regex(self.regex)),
            ("choices", _choices(self.choices)),
            ("grammar", _grammar(self.grammar)),
            ("structured_outputs.json", _vllm_schema(outputs.json, "structured_outputs.json")),
            ("structured_outputs.regex", _regex(outputs.regex)),
            ("structured_outputs.choice", _choices(outputs.choice)),
            ("structured_outputs.grammar", _grammar(outputs.grammar)),
            ("structured_outputs.json_object", ANY_OBJECT if outputs.json_object else None),
            ("guided_json", _vllm_schema(self.guided_json, "guided_json")),
            ("guided_regex", _regex(self.guided_regex)),
            ("guided_choice", _choices(self.guided_choice)),
            ("guided_grammar", _grammar(self.guided_grammar)),
        )
        return {field: rule for field, rule in asked if rule}


def schema_text(raw: Raw, param: str) -> str | None:
    """A JSON schema as it was written, within bounds; None if it is null or absent."""
    text = object_text(raw, param)
    if text is None:
        return None
    if len(text) > MAX_SCHEMA_CHARS:
        raise BadRequest(
            f"{param}: {len(text)} characters are more than {MAX_SCHEMA_CHARS}", param=param
        )
    if (depth := json_depth(text)) > MAX_SCHEMA_DEPTH:
        raise BadRequest(f"{param}: nests {depth} deep, over {MAX_SCHEMA_DEPTH}", param=param)
    json_value(text, param)  # a string may have held it; and 1e999 is a number nowhere
    return text


def _format_schema(given: ResponseFormat | None) -> JSONSchema | None:
    if given is None or given.type == "text":
        return None
    if given.type == "json_object":
        return schema_rule(given.schema, "response_format.schema") or ANY_OBJECT
    named = given.json_schema.schema if given.json_schema else given.schema
    schema = schema_rule(named, "response_format.json_schema.schema")
    if schema is None:
        param = "response_format.json_schema"
        raise BadRequest(f"{param}: the schema is missing", param=param)
    return schema


def schema_rule(raw: Raw, param: str) -> JSONSchema | None:
    text = schema_text(raw, param)
    return None if text is None else JSONSchema(text)


def _vllm_schema(raw: Raw, param: str) -> JSONSchema | None:
    """Some of its clients write the schema into a string."""
    text = raw_text(raw, param).strip()
    if text.startswith('"'):
        raw = Raw(msgspec.json.decode(text, type=str).encode())
    return schema_rule(raw, param)


def _regex(pattern: str | None) -> Regex | None:
    return Regex(pattern) if pattern else None


def _choices(texts: list[str] | None) -> Choices | None:
    return Choices(tuple(texts)) if texts else None


def _grammar(text: str | None) -> GBNF | None:
    return GBNF(text) if text else None
