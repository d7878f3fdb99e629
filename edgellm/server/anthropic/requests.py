"""What Anthropic's clients send, to our requests. null counts as absent.

What our OpenAI chats take beside OpenAI's own fields (samplers, structures, adapters …) is taken
here, too, by the same names. Fields that clients send and that change nothing here (metadata,
service_tier, cache_control, context_management …) are ignored: prefixes are shared without being
asked. Those that would change the answer are refused by name.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw

from edgellm.chat.messages import ChatRequest, Rule
from edgellm.chat.thoughts import SWITCHES
from edgellm.errors import BadRequest
from edgellm.server.anthropic.messages import MessageBody, Parts, messages
from edgellm.server.anthropic.tools import (
    ChoiceBody,
    ToolBody,
    may_call_several,
    tool_choice,
    tools,
)
from edgellm.server.body import Bytes, decode
from edgellm.server.openai.images import Gallery
from edgellm.server.openai.messages import MAX_ITEMS, MAX_TOOLS
from edgellm.server.openai.samplers import Count
from edgellm.server.openai.sampling import StopStrings
from edgellm.server.openai.structure import schema_rule
from edgellm.server.openai.thoughts import Thoughtful
from edgellm.server.openai.unserved import NULL, check_says_nothing


class ThinkingBody(msgspec.Struct):
    """Claude Code sends `"budget_tokens": 0` with adaptive thoughts: that is no bound."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]
    budget_tokens: Count | None = None
    display: Literal["summarized", "omitted"] | None = None


class FormatBody(msgspec.Struct):
    type: Literal["json_schema"]
    schema: Raw = NULL


class OutputBody(msgspec.Struct):
    effort: Annotated[str, Meta(max_length=32)] | None = None
    format: FormatBody | None = None


class MessagesBody(Thoughtful, kw_only=True):
    messages: Annotated[list[MessageBody], Meta(min_length=1, max_length=MAX_ITEMS)]
    max_tokens: Count | None = None  # 0: the prompt is read, so that the next one finds it
    system: Parts | None = None
    stop_sequences: StopStrings | None = None
    tools: Annotated[list[ToolBody], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ChoiceBody | None = None
    thinking: ThinkingBody | None = None
    output_config: OutputBody | None = None
    output_format: FormatBody | None = None  # its older place
    mcp_servers: Raw = NULL
    container: Raw = NULL

    def rules(self) -> dict[str, Rule]:
        asked = {
            "output_config.format": self.output_config.format if self.output_config else None,
            "output_format": self.output_format,
        }
        ours = {field: _rule(one, f"{field}.schema") for field, one in asked.items() if one}
        return super().rules() | ours

    def template_kwargs(self) -> dict[str, Any]:
        thinks = {} if self.thinking is None else dict.fromkeys(SWITCHES, self.thinks())
        return thinks | super().template_kwargs()

    def thinks(self) -> bool:
        return self.thinking is not None and self.thinking.type != "disabled"

    def budget(self) -> int | None:
        given = self.thinking.budget_tokens if self.thinking and self.thinks() else None
        return given or super().budget()


@dataclass(frozen=True, slots=True)
class AskedMessage:
    chat: ChatRequest
    shows_thoughts: bool
    is_only_read: bool = False

    @property
    def n_max(self) -> int | None:
        """Tokens that the answer may have."""
        return 0 if self.is_only_read else self.chat.params.max_tokens


_decoder = msgspec.json.Decoder(MessagesBody)


def message_request(data: Bytes, picture_mark: str) -> AskedMessage:
    """Raises BadRequest that names the field. `picture_mark`: see images.Gallery."""
    body = decode(_decoder, data)
    if body.max_tokens is None:
        raise BadRequest("max_tokens: is missing", param="max_tokens")
    return _asked(body, picture_mark)


def count_request(data: Bytes, picture_mark: str) -> ChatRequest:
    """The same, without an answer whose length is to be bounded."""
    return _asked(decode(_decoder, data), picture_mark).chat


def _asked(body: MessagesBody, picture_mark: str) -> AskedMessage:
    _check(body)
    if body.output_config and body.output_config.effort:
        body.reasoning_effort = body.output_config.effort
    is_only_read = body.max_tokens == 0
    body.max_tokens = 1 if is_only_read else body.max_tokens  # no step is without a token
    found, gallery = tools(body.tools or ()), Gallery(picture_mark)
    talk = messages(body.system, body.messages, gallery)
    body.return_progress = body.timings_per_token = None  # there are no words for them
    params = body.params(None, None)
    stop = tuple(text for text in body.stop_sequences or () if text)
    chat = ChatRequest(
        model=body.model or "",
        messages=talk,
        params=replace(params, stop=params.stop + stop, pictures=gallery.pictures()),
        stream=body.stream or False,
        structure_field=body.structure_field(),
        tools=found,
        tool_choice=tool_choice(body.tool_choice, found),
        parallel_tool_calls=may_call_several(body.tool_choice),
        template_kwargs=body.template_kwargs(),
        reasoning_format=body.reasoning_format or "auto",
        reasoning_budget=body.budget(),
        lora=body.lora_scales(),
        continues=talk[-1].role == "assistant",
    )
    shows_thoughts = not (body.thinking and body.thinking.display == "omitted")
    return AskedMessage(chat, shows_thoughts, is_only_read)


def _check(body: MessagesBody) -> None:
    check_says_nothing(body.mcp_servers, "mcp_servers", ([],))
    check_says_nothing(body.container, "container")
    if body.n not in (None, 1):
        raise BadRequest("n: a message has one answer", param="n")
    if body.thinking and body.thinking.type == "enabled" and not body.thinking.budget_tokens:
        field = "thinking.budget_tokens"
        raise BadRequest(f"{field}: is missing", param=field)


def _rule(given: FormatBody, param: str) -> Rule:
    rule = schema_rule(given.schema, param)
    if rule is None:
        raise BadRequest(f"{param}: is missing", param=param)
    return rule
