"""Conversations for templates that refuse two messages of the same side in a row, as Mistral's and
Gemma's do. Pure.

Agents send them: reminders behind a call's result, a question that was put again, an answer in two
parts. These templates count neither calls nor results, so what the user says behind a result has no
place of its own, and is told with it.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgellm.chat.messages import Message, Role
from edgellm.chat.templating.systems import joined_text


def alternating(messages: Sequence[Message]) -> list[Message]:
    """The same words, in the same order, in fewer messages."""
    groups: list[list[Message]] = []  # joined at the end, each once: there may be thousands
    last: Role | None = None  # who spoke last, but for calls and results
    for message in messages:
        if message.is_begun and not (message.text or message.reasoning):
            continue
        if groups and _joins(groups[-1][-1], message, last):
            groups[-1].append(message)
        else:
            groups.append([message])
        if message.tool_calls and len(groups[-1]) > 1:
            last = "user"  # whom the joined answer had followed
        elif message.role == "user" or message.is_begun:
            last = message.role
    return [_joined(group) if len(group) > 1 else group[0] for group in groups]


def _joins(before: Message, message: Message, last: Role | None) -> bool:
    if message.role == "assistant":
        return before.is_begun
    return message.role == last == "user" and before.role in ("user", "tool")


def _joined(group: Sequence[Message]) -> Message:
    return replace(
        group[0],
        text=joined_text(group),
        reasoning="\n\n".join(one.reasoning for one in group if one.reasoning) or None,
        tool_calls=group[-1].tool_calls,
    )
