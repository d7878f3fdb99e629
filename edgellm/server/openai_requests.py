"""What OpenAI's clients send, field by field with its bounds, to our requests.

Every number has a lower and an upper bound (a test walks these structs): what is out of bounds
never reaches native code. Names and meaning: OpenAI's API reference; top_k, min_p, typical_p,
repeat_penalty, repeat_last_n, ignore_eos, cache_prompt, n_predict, json_schema are llama-server's,
`regex` is ours. null counts as absent. Fields that clients really send and that change nothing
here (user, store, metadata, service_tier, parallel_tool_calls ...) are passed over; those that
would change the answer, and that we don't do yet, are refused by name.
"""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw

from edgellm.chat.messages import (
    ChatRequest,
    CompletionRequest,
    GenerateParams,
    JSONSchema,
    Message,
    Regex,
    SamplingParams,
    Structure,
)
from edgellm.errors import BadRequest
from edgellm.server.body import decode, json_depth

_INT32_MAX = 2**31 - 1
_NULL = Raw(b"null")

Token: TypeAlias = Annotated[int, Meta(ge=0, le=_INT32_MAX)]
Bias: TypeAlias = Annotated[float, Meta(ge=-100, le=100)]
Ratio: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Penalty: TypeAlias = Annotated[float, Meta(ge=-2, le=2)]
Rivals: TypeAlias = Annotated[int, Meta(ge=0, le=20)]
MaxTokens: TypeAlias = Annotated[int, Meta(ge=-1, le=_INT32_MAX)]  # -1: to the context's end
Name: TypeAlias = Annotated[str, Meta(max_length=512)]
StopString: TypeAlias = Annotated[str, Meta(max_length=512)]
Prompt: TypeAlias = str | list[str | Token | list[Token]]

MAX_SCHEMA_CHARS, MAX_SCHEMA_DEPTH = 64 * 1024, 32
MAX_ANSWERS = 64  # of one request: its prompts times n


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class NamedSchema(msgspec.Struct):
    schema: Raw = _NULL  # with "name" and "strict" beside it: ours is always strict


class ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema: Raw = _NULL  # llama-server's: {"type": "json_object", "schema": {...}}


class Sampling(msgspec.Struct, kw_only=True):
    """What chat and completion share."""

    model: Name | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Ratio | None = None
    top_k: Annotated[int, Meta(ge=-1, le=_INT32_MAX)] | None = None
    min_p: Ratio | None = None
    typical_p: Ratio | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=_INT32_MAX)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[Token, Bias], Meta(max_length=1024)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    ignore_eos: bool | None = None
    max_tokens: MaxTokens | None = None
    n_predict: MaxTokens | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    cache_prompt: bool | None = None
    response_format: ResponseFormat | None = None
    json_schema: Raw = _NULL
    regex: Annotated[str, Meta(max_length=512)] | None = None
    grammar: str | None = None

    def params(self, logprobs: int | None, max_completion_tokens: int | None) -> GenerateParams:
        return GenerateParams(
            sampling=self._sampling_params(),
            max_tokens=_bound(max_completion_tokens, self.max_tokens, self.n_predict),
            stop=self._stop_strings(),
            structure=self._structure(),
            n=self.n or 1,
            logprobs=logprobs,
            cache_prompt=self.cache_prompt is not False,
        )

    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def _sampling_params(self) -> SamplingParams:
        fields: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k is None else max(self.top_k, 0),  # vLLM's -1: off
            "min_p": self.min_p,
            "typical_p": self.typical_p,
            "repeat_penalty": self.repeat_penalty,
            "repeat_last_n": self.repeat_last_n,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "ignore_eos": self.ignore_eos,
            "seed": _seed(self.seed),
        }
        present = {name: value for name, value in fields.items() if value is not None}
        return SamplingParams(**present, logit_bias=tuple((self.logit_bias or {}).items()))

    def _stop_strings(self) -> tuple[str, ...]:
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(string for string in given if string)

    def _structure(self) -> Structure | None:
        if self.grammar:
            raise BadRequest(
                "grammar: GBNF is not served here",
                hint="give a JSON schema as response_format, or a pattern as regex",
                param="grammar",
            )
        found = [
            structure
            for structure in (
                _format_schema(self.response_format),
                _schema(self.json_schema, "json_schema"),
                Regex(self.regex) if self.regex else None,
            )
            if structure
        ]
        if len(found) > 1:
            raise BadRequest("response_format, json_schema and regex exclude each other")
        return found[0] if found else None


class Part(msgspec.Struct):
    type: Name
    text: str | None = None


class ChatMessage(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: Name | None = None
    tool_calls: list[Raw] | None = None


class ChatBody(Sampling):
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=4096)]
    max_completion_tokens: MaxTokens | None = None
    logprobs: bool | None = None
    top_logprobs: Rivals | None = None
    tools: list[Raw] | None = None
    functions: list[Raw] | None = None
    chat_template: str | None = None


class CompletionBody(Sampling):
    prompt: Prompt
    logprobs: Rivals | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Meta(ge=1, le=8)] | None = None


_chat_decoder = msgspec.json.Decoder(ChatBody)
_completion_decoder = msgspec.json.Decoder(CompletionBody)


def chat_request(data: bytes) -> ChatRequest:
    """Raises BadRequest that names the field."""
    body = decode(_chat_decoder, data)
    if body.tools or body.functions:
        raise BadRequest(
            "tools: tool calls are not served yet",
            hint="ask for JSON by response_format instead",
            param="tools" if body.tools else "functions",
        )
    if body.chat_template:
        raise BadRequest(
            "chat_template: the model's own is used; a request cannot bring code",
            hint="send a finished prompt to /v1/completions",
            param="chat_template",
        )
    if body.top_logprobs is not None and not body.logprobs:
        raise BadRequest("top_logprobs needs logprobs: true", param="top_logprobs")
    return ChatRequest(
        model=body.model or "",
        messages=tuple(_message(i, message) for i, message in enumerate(body.messages)),
        params=body.params(
            (body.top_logprobs or 0) if body.logprobs else None, body.max_completion_tokens
        ),
        stream=body.stream or False,
        include_usage=body.include_usage(),
    )


def completion_request(data: bytes) -> CompletionRequest:
    """Raises BadRequest that names the field."""
    body = decode(_completion_decoder, data)
    prompts = split_prompts(body.prompt, "prompt", MAX_ANSWERS)
    if body.suffix:
        raise BadRequest("suffix: text is only written at the end", param="suffix")
    if body.best_of not in (None, body.n or 1):
        raise BadRequest("best_of: answers are not ranked; it must equal n", param="best_of")
    if body.echo and not all(isinstance(prompt, str) for prompt in prompts):
        raise BadRequest("echo: needs a prompt given as text", param="echo")
    if len(prompts) * (body.n or 1) > MAX_ANSWERS:
        raise BadRequest(
            f"prompt: {len(prompts)} prompts × n = {body.n} are more than {MAX_ANSWERS} answers",
            param="n",
        )
    return CompletionRequest(
        model=body.model or "",
        prompts=prompts,
        params=body.params(body.logprobs, None),
        stream=body.stream or False,
        include_usage=body.include_usage(),
        echo=body.echo or False,
    )


def split_prompts(given: Prompt, param: str, at_most: int) -> tuple[str | tuple[int, ...], ...]:
    """OpenAI's four shapes: a text, texts, token ids, lists of token ids."""
    if isinstance(given, str):
        return (given,)
    if given and all(isinstance(item, int) for item in given):
        return (tuple(item for item in given if isinstance(item, int)),)
    prompts: list[str | tuple[int, ...]] = []
    for item in given:
        if isinstance(item, int):
            raise BadRequest(f"{param}: mixes token ids with texts or lists", param=param)
        prompts.append(item if isinstance(item, str) else tuple(item))
    if not prompts or () in prompts:
        raise BadRequest(f"{param}: is empty", param=param)
    if len(prompts) > at_most:
        raise BadRequest(f"{param}: {len(prompts)} items are more than {at_most}", param=param)
    return tuple(prompts)


def _message(i: int, message: ChatMessage) -> Message:
    where = f"messages[{i}]"
    if message.role == "tool" or message.tool_calls:
        raise BadRequest(f"{where}: tool calls are not served yet", param=where)
    parts = message.content if isinstance(message.content, list) else []
    for part in parts:
        if part.type != "text" or part.text is None:
            raise BadRequest(
                f"{where}.content: a part of type {part.type[:40]!r} is not served, only text",
                param=f"{where}.content",
            )
    text = message.content if isinstance(message.content, str) else None
    return Message(
        role=message.role,
        text=text if text is not None else "".join(part.text or "" for part in parts),
        name=message.name or None,
    )


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
    return JSONSchema(text)


def _bound(*given: int | None) -> int | None:
    """The first that is there; -1 bounds nothing."""
    first = next((number for number in given if number is not None), None)
    if first == 0:
        raise BadRequest("max_tokens: must be at least 1, or -1 for no bound", param="max_tokens")
    return None if first == -1 else first


def _seed(given: int | None) -> int | None:
    """llama.cpp's is 32 bits wide, and its highest value means "random", as -1 does here."""
    return None if given in (None, -1) else given % 0xFFFF_FFFF
