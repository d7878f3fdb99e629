"""A conversation to a prompt as the model was trained on it, by the model's own chat template.

A template is code from a stranger's file, so it runs in a bounded sandbox (sandbox.py), and what
it can call is listed there, the same few things that transformers offers (as of 4.5x):
`raise_exception`, `strftime_now`, the `tojson` filter, `break` and `continue`, and the
`{% generation %}` mark, which changes nothing in the text. The environment strips a block's
first newline and leading blanks, as transformers does: templates are written for that.

A model without a template gets one of ours: ChatML if its vocabulary has `<|im_start|>`, else
plain "role: text" lines. Pure: the clock is the caller's (`now`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from itertools import chain
from typing import Any

from edgellm.chat.messages import Message, Tool, ToolCall
from edgellm.chat.templating.alternating import alternating
from edgellm.chat.templating.answering import orphans, with_unanswered
from edgellm.chat.templating.arguments import as_object
from edgellm.chat.templating.responses import with_responses
from edgellm.chat.templating.script import Script
from edgellm.chat.templating.systems import (
    begins_with_answer,
    placed,
    with_silent_user,
    with_user,
)
from edgellm.chat.templating.trials import Trials
from edgellm.chat.thoughts import Style, style_of
from edgellm.chat.tools import format_of, generic
from edgellm.chat.tools.format import Format, Write

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = (
    "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)


class ChatTemplate:
    """`adds_bos`: the tokenizer puts BOS first by itself, so a rendered one is dropped.

    `tool_source`: some models have a second template, for conversations with tools. `stop` strings
    end a turn where the model has no token for that: only our own templates need them. `style` is
    how the model marks its thoughts.
    """

    def __init__(
        self,
        source: str | None,
        bos_token: str = "",
        eos_token: str = "",
        *,
        has_im_start: bool = False,
        adds_bos: bool = True,
        tool_source: str | None = None,
    ) -> None:
        fallback, stop = (CHATML, ("<|im_end|>",)) if has_im_start else (PLAIN, ("\nuser:",))
        self.source = source or fallback
        self.stop: tuple[str, ...] = () if source else stop
        self.bos_token, self.eos_token = bos_token, eos_token
        tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._plain = self._for_tools = Script(self.source, tokens)
        if tool_source and tool_source != self.source:
            self._for_tools = Script(tool_source, tokens)
        self.style: Style | None = style_of(self._for_tools.source)
        self._dropped_prefix = bos_token if adds_bos else ""

    @cached_property
    def format(self) -> Format:
        """How the model writes tool calls; in our own format if its template shows no tools."""
        found = format_of(self._for_tools.source)
        ours = found.shows_tools and not found.preface and not self.shows_tools
        return generic.FORMAT if ours else found

    @property
    def switches_thoughts(self) -> bool:
        """Whether a request can say if the model thinks."""
        return self._plain.trials.switches_thoughts

    @property
    def shows_tools(self) -> bool:
        """Whether the template lists tools; else our own words do (`format`)."""
        return self._for_tools.trials.shows_tools

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        *,
        tools: Sequence[Tool] = (),
        variables: Mapping[str, Any] | None = None,
        now: datetime | None = None,
    ) -> str:
        """The prompt. Without `now`, `strftime_now` is undefined, which templates ask for.

        `variables` are the client's, for a template that knows them (`enable_thinking` ...); ours
        win. Raises BadRequest with the template's own words: most often it minds the order of
        roles.
        """
        with_tools = bool(tools) or any(one.tool_calls or one.role == "tool" for one in messages)
        shows_tools = with_tools and self.format.shows_tools
        script = self._for_tools if shows_tools else self._plain
        told = self._adapted(messages, tools, script.trials) if with_tools else messages
        told = self._ordered(told, script.trials)
        ours = {
            "messages": _as_mappings(told, script.trials),
            "tools": [generic.as_mapping(tool) for tool in tools if shows_tools] or None,
            "add_generation_prompt": add_generation_prompt,
        }
        clock = {"strftime_now": now.strftime} if now else {}
        prompt = script.render({**(variables or {}), **ours, **clock})
        return prompt.removeprefix(self._dropped_prefix)

    def _ordered(self, messages: Sequence[Message], trials: Trials) -> Sequence[Message]:
        """The messages in roles and an order that the template takes."""
        told = messages
        if any(one.is_system for one in told):
            takes_first, takes_more = trials.takes_system, trials.takes_more_systems
            told = placed(told, takes_first=takes_first, takes_more=takes_more)
        if trials.needs_user:
            told = with_user(told)
        if begins_with_answer(told) and trials.wants_user_first:
            told = with_silent_user(told)
        if trials.alternates:
            if write := self.format.write:
                told = with_unanswered(told, partial(_with_calls, write))
            told = alternating(told)
        return told

    def _adapted(
        self, messages: Sequence[Message], tools: Sequence[Tool], trials: Trials
    ) -> Sequence[Message]:
        told = self.format.adapt(messages, tools)
        lost = orphans(told)
        if lost and not trials.shows_orphans:
            split = [generic.as_text([one]) if i in lost else [one] for i, one in enumerate(told)]
            told = [*chain.from_iterable(split)]
        has_calls = any(one.tool_calls for one in told)
        has_results = any(one.role == "tool" for one in told)
        loses_calls = has_calls and not trials.shows_calls
        loses_results = has_results and not (trials.shows_results or trials.takes_responses)
        if loses_calls and not loses_results and self.format.write:
            return [_with_calls(self.format.write, one) for one in told]
        return generic.as_text(told) if loses_calls or loses_results else told


def _with_calls(write: Write, message: Message) -> Message:
    """The message with its calls written as text, for a template that leaves them out."""
    if not message.tool_calls:
        return message
    calls = [(one.name, as_object(one.arguments)) for one in message.tool_calls]
    return replace(message, text=message.text + write(calls), tool_calls=())


def _as_mappings(messages: Sequence[Message], trials: Trials) -> list[dict[str, Any]]:
    mapped = [_as_mapping(one, trials) for one in messages]
    has_results = any(one.role == "tool" for one in messages)
    return with_responses(mapped) if has_results and trials.takes_responses else mapped


def _as_mapping(message: Message, trials: Trials) -> dict[str, Any]:
    """Few templates know OpenAI's "developer"; for the others it is a system message."""
    demoted = message.role == "developer" and not trials.takes_developer
    fields = {
        "role": "system" if demoted else message.role,
        "content": message.text,
        "name": message.name,
        "tool_call_id": message.tool_call_id,
        "reasoning_content": message.reasoning,
        "thinking": message.reasoning,  # gpt-oss's word for it
        "tool_calls": [_call(one, trials) for one in message.tool_calls] or None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _call(call: ToolCall, trials: Trials) -> dict[str, Any]:
    arguments = as_object(call.arguments) if trials.takes_objects else call.arguments
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
