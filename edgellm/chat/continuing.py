"""Answers that have begun: the conversation's last message is the model's, to be continued. Pure.

The template shows how such a message begins: it is rendered with a mark in place of the message's
text, and the prompt ends where the mark stands. Where a new answer would begin with thoughts, these
are closed before the text; where the message has only thoughts, the answer continues inside them.
(llama.cpp: common/chat.cpp, continue_final_message)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from edgellm.chat.messages import ChatRequest, Message
from edgellm.chat.thoughts import Style, is_ended, is_opened
from edgellm.errors import BadRequest

# Messages, and whether a new answer's beginning stands behind them, to a prompt.
Render: TypeAlias = Callable[[Sequence[Message], bool], str]

_MARK = "here-the-answer-goes-on"
_AFTER_THOUGHTS = "\n\n"


@dataclass(frozen=True, slots=True)
class Begun:
    """A prompt, and what of the answer it ends with already: nothing, thoughts, or text."""

    prompt: str
    in_thoughts: bool
    has_text: bool = False


def new(messages: Sequence[Message], style: Style | None, render: Render) -> Begun:
    """A prompt for a new answer."""
    prompt = render(messages, True)
    return Begun(prompt, style is not None and is_opened(style, prompt))


def continued(
    before: Sequence[Message], said: Message, style: Style | None, render: Render
) -> Begun:
    """A prompt for the rest of `said` (from `what_is_said`). An empty one is as good as none."""
    if said.text:
        head = _up_to_text(before, said, style, render)
        return Begun(head + said.text, in_thoughts=False, has_text=True)
    if said.reasoning and style:
        head = _up_to_thoughts(render(before, True), style)
        return Begun(head + said.reasoning, in_thoughts=True)
    return new(before, style, render)


def what_is_said(asked: ChatRequest, style: Style | None) -> Message:
    """The last message, its thoughts apart. Raises BadRequest where something else is asked that
    must bind an answer from its first word on."""
    last = asked.messages[-1]
    if last.role != "assistant":
        words = "continue_final_message: the last message is not the assistant's"
        raise BadRequest(words, param="continue_final_message")
    if last.tool_calls:
        raise BadRequest(
            "messages: the last one calls tools, and cannot be continued",
            hint="send the calls' results behind it",
            param="messages",
        )
    said = _apart(last, style)
    if said.text:
        _check_binds_no_whole_answer(asked)
    return said


def _check_binds_no_whole_answer(asked: ChatRequest) -> None:
    why = "binds a whole answer, and the last message has begun one"
    hint = "end with a message of the user's, or send a finished prompt to /v1/completions"
    if asked.params.structure:
        field = asked.structure_field
        raise BadRequest(f"{field}: {why}", hint=hint, param=field)
    if asked.tools and asked.tool_choice.mode == "required":
        words = "tool_choice: a call that must come is a whole answer, and the last message has "
        raise BadRequest(f"{words}begun one", hint="let tool_choice be auto", param="tool_choice")


def _apart(last: Message, style: Style | None) -> Message:
    """Thoughts that the client sends in the text, marks included, are taken out of it."""
    text = last.text.lstrip()
    if style is None or last.reasoning or not text.startswith(style.start):
        return last
    thoughts, _, rest = text.removeprefix(style.start).partition(style.end)
    return replace(last, reasoning=thoughts.lstrip("\n"), text=rest.lstrip("\n"))


def _up_to_thoughts(prompt: str, style: Style) -> str:
    """The prompt with thoughts begun, even where the template has closed them: here are some."""
    if is_ended(style, prompt):
        prompt = prompt.rstrip().removesuffix(style.end)
    return prompt if is_opened(style, prompt) else prompt + style.start


def _up_to_text(
    before: Sequence[Message], last: Message, style: Style | None, render: Render
) -> str:
    head = _as_shown(before, last, render)
    if head is not None and (style is None or is_ended(style, head)):
        return head
    prompt = render(before, True)
    if style and is_opened(style, prompt):
        return f"{prompt}{last.reasoning or ''}{style.end}{style.frame[0] or _AFTER_THOUGHTS}"
    return prompt if head is None else head


def _as_shown(before: Sequence[Message], last: Message, render: Render) -> str | None:
    """None where the template refuses such an end, or leaves it out."""
    try:
        shown = render([*before, replace(last, text=_MARK)], False)
    except BadRequest:
        return None
    head, found, _ = shown.rpartition(_MARK)
    return head if found else None
