"""Conversations for templates that refuse two messages of the same side in a row, as Mistral's and
Gemma's do. Pure.

Agents send them: reminders behind a call's result, a question that was put again, an answer in two
parts. These templates count neither calls nor results, so what the user says behind a result has no
place of its own, and is told with it.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgellm.chat.messages import Message, Role


def alternating(messages: Sequence[Message]) -> list[Message]:
    """The same words, in the same order, in fewer messages."""
    told: list[Message] = []
    last: Role | None = None  # who spoke last, but for calls and results
    for message in messages:
        if message.is_begun and not (message.text or message.reasoning):
            continue
        if told and _joins(told[-1], message, last):
            told[-1] = _joined(told[-1], message)
        else:
            told.append(message)
        if message.tool_calls and told[-1] is not message:
            last = "user"  # whom the joined answer had followed
        elif message.role == "user" or message.is_begun:
            last = message.role
    return told


def _joins(before: Message, message: Message, last: Role | None) -> bool:
    if message.role == "assistant":
        return before.is_begun
    return message.role == last == "user" and before.role in ("user", "tool")


def _joined(before: Message, message: Message) -> Message:
    thoughts = filter(None, (before.reasoning, message.reasoning))
    return replace(
        before,
        text="\n\n".join(filter(None, (before.text, message.text))),
        reasoning="\n\n".join(thoughts) or None,
        tool_calls=message.tool_calls,
    )
