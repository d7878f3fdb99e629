"""A conversation to the one text that a model was trained on: its own chat template.

A template is code from a stranger's file, so it runs in a bounded sandbox (sandbox.py), and what
it can call is listed there, the same few things that transformers offers (as of 4.5x):
`raise_exception`, `strftime_now`, the `tojson` filter, `break` and `continue`, and the
`{% generation %}` mark, which changes nothing in the text. The environment strips a block's
first newline and leading blanks, as transformers does: templates are written for that.

A model without a template gets one of ours: ChatML if its vocabulary has `<|im_start|>`, else
plain "role: text" lines. Pure: the clock is the caller's (`now`).
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgellm.chat.messages import Message, Tool, ToolCall
from edgellm.chat.templating.responses import with_responses
from edgellm.chat.templating.trials import Trials
from edgellm.chat.thoughts import Style, style_of
from edgellm.chat.tools import format_of, generic
from edgellm.chat.tools.format import Format
from edgellm.errors import BadRequest

if TYPE_CHECKING:
    from jinja2 import Template

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

# The file's code may raise whatever an expression can: that is the file's fault, not ours.
_WHAT_AN_EXPRESSION_RAISES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class ChatTemplate:
    """`adds_bos`: the tokenizer puts BOS first by itself, so a rendered one is dropped.

    `tool_source`: some models have a template of its own for conversations with tools. `stop` are
    strings that end a turn where the model has no token for that: only our own templates need
    them. `style` is how the model marks its thoughts.
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
        self._tool_source = tool_source or self.source
        self.style: Style | None = style_of(self._tool_source)
        self.bos_token, self.eos_token = bos_token, eos_token
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._dropped_prefix = bos_token if adds_bos else ""
        self._knows_developer = "developer" in self.source
        self._trials = Trials(
            self._tool_source, lambda variables: self._rendered(variables, with_tools=True)
        )

    @cached_property
    def format(self) -> Format:
        """How the model writes tool calls. Ours, if its template doesn't show it the tools."""
        found = format_of(self._tool_source)
        ours = found.shows_tools and not found.preface and not self._trials.shows_tools
        return generic.FORMAT if ours else found

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
        told = self._adapted(messages, tools) if with_tools else messages
        shown = tools if with_tools and self.format.shows_tools else ()
        ours = {
            "messages": self._as_mappings(self._without_system(told)),
            "tools": [generic.as_mapping(tool) for tool in shown] or None,
            "add_generation_prompt": add_generation_prompt,
        }
        clock = {"strftime_now": now.strftime} if now else {}
        prompt = self._rendered({**(variables or {}), **ours, **clock}, with_tools=with_tools)
        return prompt.removeprefix(self._dropped_prefix)

    def _adapted(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
        told = self.format.adapt(messages, tools)
        has_calls = any(one.tool_calls for one in told)
        has_results = any(one.role == "tool" for one in told)
        loses_calls = has_calls and not self._trials.shows_calls
        loses_results = has_results and not (
            self._trials.shows_results or self._trials.takes_responses
        )
        return generic.as_text(told) if loses_calls or loses_results else told

    def _without_system(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Where the template knows no system message, the first user's begins with its text."""
        is_system = bool(messages) and messages[0].role in ("system", "developer")
        if not is_system or self._trials.takes_system:
            return messages
        first, *others = messages
        if not others or others[0].role != "user":
            return [Message("user", first.text), *others]
        return [replace(others[0], text=f"{first.text}\n\n{others[0].text}"), *others[1:]]

    def _rendered(self, variables: Mapping[str, Any], *, with_tools: bool) -> str:
        from jinja2 import TemplateError

        from edgellm.chat.templating.sandbox import bounded

        try:
            template = self._with_tools if with_tools else self._compiled
            with bounded():
                return template.render(**{**variables, **self._tokens})
        except (TemplateError, *_WHAT_AN_EXPRESSION_RAISES) as error:
            raise _refused(error) from error

    @cached_property
    def _compiled(self) -> "Template":
        from edgellm.chat.templating.sandbox import environment

        return environment().from_string(self.source)

    @cached_property
    def _with_tools(self) -> "Template":
        from edgellm.chat.templating.sandbox import environment

        same = self._tool_source == self.source
        return self._compiled if same else environment().from_string(self._tool_source)

    def _as_mappings(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        mapped = [self._as_mapping(one) for one in messages]
        has_results = any(one.role == "tool" for one in messages)
        return with_responses(mapped) if has_results and self._trials.takes_responses else mapped

    def _as_mapping(self, message: Message) -> dict[str, Any]:
        """Few templates know OpenAI's "developer"; to the others it is the system's word."""
        demoted = message.role == "developer" and not self._knows_developer
        calls = [_call(one, self._trials.takes_objects) for one in message.tool_calls]
        fields = {
            "role": "system" if demoted else message.role,
            "content": message.text,
            "name": message.name,
            "tool_call_id": message.tool_call_id,
            "reasoning_content": message.reasoning,
            "thinking": message.reasoning,  # gpt-oss's word for it
            "tool_calls": calls or None,
        }
        return {key: value for key, value in fields.items() if value is not None}


def _call(call: ToolCall, takes_objects: bool) -> dict[str, Any]:
    arguments: Any = call.arguments
    if takes_objects:
        with contextlib.suppress(ValueError, RecursionError):  # of a call that was cut off
            arguments = json.loads(call.arguments or "{}")
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _refused(error: Exception) -> BadRequest:
    words = str(error).splitlines() or [type(error).__name__]
    return BadRequest(
        f"the model's chat template refuses this conversation: {words[0][:300]}",
        hint="check the order of roles, or send a finished prompt to /v1/completions",
        param="messages",
    )
