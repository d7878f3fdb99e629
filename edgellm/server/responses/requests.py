"""What the Responses API's clients send, to our requests, and to the response as it begins.

What a chat may ask for beside OpenAI's fields (samplers, structures, adapters …) may be asked for
here under the same names. `text.verbosity` changes nothing. A response is stored unless `store` is
false, or the server keeps none. Of the one that it follows only the conversation is taken, as
OpenAI does it: neither its instructions nor its tools.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw

from edgellm.chat.messages import ChatRequest, GenerateParams, JSONSchema, Message, Rule
from edgellm.errors import BadRequest
from edgellm.server.body import Bytes, decode, json_value
from edgellm.server.openai.images import Gallery
from edgellm.server.openai.messages import MAX_ITEMS, MAX_TOOLS, Name
from edgellm.server.openai.samplers import Positive
from edgellm.server.openai.sampling import Rivals
from edgellm.server.openai.structure import ANY_OBJECT, schema_rule
from edgellm.server.openai.unserved import NULL
from edgellm.server.openai.wire import encode
from edgellm.server.responses.earlier import conversation, recalled
from edgellm.server.responses.items import Item, additional_tools, listed, messages
from edgellm.server.responses.object import Effort, Response, Text, TextFormat
from edgellm.server.responses.store import Store
from edgellm.server.responses.tools import (
    Choice,
    ChoiceBody,
    ToolBody,
    Tools,
    is_passed_over,
    shown_choice,
    tool_choice,
    tools,
)
from edgellm.server.responses.unserved import UnservedHere

_LOGPROBS = "message.output_text.logprobs"

MetadataKey = Annotated[str, Meta(max_length=64)]
MetadataValue = Annotated[str, Meta(max_length=512)]


class FormatBody(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    name: Name | None = None
    description: str | None = None
    schema: Raw = NULL


class TextBody(msgspec.Struct):
    format: FormatBody | None = None
    verbosity: Name | None = None


class ReasoningBody(msgspec.Struct):
    effort: Annotated[str, Meta(max_length=32)] | None = None
    summary: Name | None = None
    generate_summary: Name | None = None  # its older name


class ResponseBody(UnservedHere, kw_only=True):
    input: str | Annotated[Sequence[Item], Meta(min_length=1, max_length=MAX_ITEMS)]
    instructions: str | None = None
    max_output_tokens: Positive | None = None
    max_tool_calls: Positive | None = None  # of those that OpenAI's servers run: there are none
    metadata: Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=16)] | None = None
    tools: Annotated[list[ToolBody], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    text: TextBody | None = None
    reasoning: ReasoningBody | None = None
    include: Annotated[list[Name], Meta(max_length=32)] | None = None
    top_logprobs: Rivals | None = None
    truncation: Literal["auto", "disabled"] | None = None
    prompt_cache_key: Name | None = None
    safety_identifier: Name | None = None
    user: Name | None = None
    store: bool | None = None
    previous_response_id: Name | None = None  # empty: none
    background: bool | None = None

    def rules(self) -> dict[str, Rule]:
        rule = _rule(self.text.format if self.text else None)
        return super().rules() | ({"text.format": rule} if rule else {})

    def logprobs(self) -> int | None:
        """Rivals of each token; None: nobody asked."""
        is_asked = self.top_logprobs or _LOGPROBS in (self.include or ())
        return (self.top_logprobs or 0) if is_asked else None

    def summary(self) -> str | None:
        given = self.reasoning or ReasoningBody()
        asked = given.summary or given.generate_summary
        return None if asked == "none" else asked


@dataclass(frozen=True, slots=True)
class AskedResponse:
    """`in_summary`: a client that asks for a summary of the thoughts looks for them there.
    `given`: its own input's items, as JSON, where they are to be kept. `n_recalled_bytes`: of what
    it named by ids alone."""

    chat: ChatRequest
    tools: Tools
    response: Response
    in_summary: bool
    given: tuple[bytes, ...]
    n_recalled_bytes: int


_decoder = msgspec.json.Decoder(ResponseBody)


def response_request(
    data: Bytes, picture_mark: str, store: Store, owner: str = ""
) -> AskedResponse:
    """Raises BadRequest that names the field. `picture_mark`: see images.Gallery; `owner`: whose
    responses it may name."""
    body = _checked(decode(_decoder, data), store)
    before, n_before_bytes = conversation(body.previous_response_id, store, owner)
    items, n_recalled_bytes = recalled(listed(body.input), store, owner)
    found = tools(body.tools or (), additional_tools([*before, *items]))
    gallery = Gallery(picture_mark)
    talk = messages(body.instructions, before, items, gallery)
    chat = _chat(body, talk, found, gallery)
    told = _response(body, chat, found)
    given = [encode(one) for one in items if body.store and not is_passed_over(one.type or "")]
    n_bytes = n_before_bytes + n_recalled_bytes
    return AskedResponse(chat, found, told, body.summary() is not None, tuple(given), n_bytes)


def _checked(body: ResponseBody, store: Store) -> ResponseBody:
    """With what it leaves out. Raises BadRequest."""
    body.check_unserved()
    if body.n not in (None, 1):
        raise BadRequest("n: a response has one answer", param="n")
    if body.reasoning and body.reasoning.effort:
        body.reasoning_effort = body.reasoning.effort
    if body.background and (store.is_off or body.store is False):
        why = "store is false" if body.store is False else "none is kept here"
        raise BadRequest(
            f"background: needs a response that is kept, and {why}",
            hint="stream the response instead",
            param="background",
        )
    body.store = body.store is not False and not store.is_off
    return body


def _chat(
    body: ResponseBody, talk: tuple[Message, ...], found: Tools, gallery: Gallery
) -> ChatRequest:
    body.return_progress = body.timings_per_token = None  # there are no words for them
    params = replace(
        body.params(body.logprobs(), body.max_output_tokens), pictures=gallery.pictures()
    )
    is_named = isinstance(body.tool_choice, ChoiceBody) and body.tool_choice.mode is None
    return ChatRequest(
        model=body.model or "",
        messages=talk,
        params=params,
        stream=body.stream or False,
        structure_field=body.structure_field(),
        tools=found.known,
        tool_choice=tool_choice(body.tool_choice, found),
        parallel_tool_calls=body.parallel_tool_calls is not False
        and not is_named,  # one function by its name: one call
        template_kwargs=body.template_kwargs(),
        reasoning_format=body.reasoning_format or "auto",
        reasoning_budget=body.budget(),
        lora=body.lora_scales(),
    )


def _response(body: ResponseBody, chat: ChatRequest, found: Tools) -> Response:
    """What the response repeats: as it is done, not as it was asked for."""
    return Response(
        background=body.background or False,
        instructions=body.instructions,
        max_output_tokens=chat.params.max_tokens,
        max_tool_calls=body.max_tool_calls,
        metadata=body.metadata or {},
        parallel_tool_calls=chat.parallel_tool_calls,
        previous_response_id=body.previous_response_id or None,
        prompt_cache_key=body.prompt_cache_key,
        reasoning=Effort(body.reasoning_effort, body.summary()),
        safety_identifier=body.safety_identifier,
        store=body.store or False,
        temperature=chat.params.sampling.temperature,
        text=_text(body.text or TextBody(), chat.params),
        tool_choice=shown_choice(body.tool_choice),
        tools=found.shown,
        top_logprobs=chat.params.logprobs or 0,
        top_p=chat.params.sampling.top_p,
        truncation=body.truncation or "disabled",
        user=body.user,
    )


def _text(given: TextBody, params: GenerateParams) -> Text:
    verbosity = given.verbosity or UNSET
    form = given.format or FormatBody("text")
    if form.type != "json_schema" or not isinstance(params.structure, JSONSchema):
        return Text(TextFormat(form.type), verbosity)
    shown = TextFormat(
        form.type,
        form.name or "schema",
        form.description or UNSET,
        Raw(params.structure.schema.encode()),
        strict=True,
    )
    return Text(shown, verbosity)


def _rule(given: FormatBody | None) -> JSONSchema | None:
    match given:
        case FormatBody("json_object"):
            return ANY_OBJECT
        case FormatBody("json_schema", schema=schema):
            param = "text.format.schema"
            if rule := schema_rule(schema, param):
                json_value(rule.schema, param)  # the response repeats it
                return rule
            raise BadRequest(f"{param}: is missing", param=param)
        case _:
            return None
