"""What the system says, where a template gives it no place: it becomes what the user says. Pure.

Many templates know one such message, at the start, and leave out or refuse every other one. Some
refuse a conversation in which the user has said nothing, as Qwen 3.5's and, with tools, Llama's;
and some one in which the assistant has the first word, as Mistral's and Gemma's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

from edgellm.chat.messages import Message


def placed(messages: Sequence[Message], *, takes_first: bool, takes_more: bool) -> list[Message]:
    """What the template takes stays. If it takes one alone, those at the start are one."""
    if takes_first and takes_more:
        return list(messages)
    leading = [*takewhile(lambda message: message.is_system, messages)] if takes_first else []
    first = [replace(leading[0], text=joined_text(leading))] if leading else []
    return [*first, *_as_users(messages[len(leading) :])]


def with_user(messages: Sequence[Message]) -> list[Message]:
    """Where no message is the user's, an empty one."""
    if any(one.role == "user" for one in messages):
        return list(messages)
    return with_silent_user(messages)


def begins_with_answer(messages: Sequence[Message]) -> bool:
    """Whether the assistant has the first word, as in a story or a greeting of its own."""
    first = next((one for one in messages if not one.is_system), None)
    return first is not None and first.role == "assistant"


def with_silent_user(messages: Sequence[Message]) -> list[Message]:
    """An empty message of the user's, behind what the system says first."""
    n_first = len([*takewhile(lambda message: message.is_system, messages)])
    return [*messages[:n_first], Message("user", ""), *messages[n_first:]]


def _as_users(messages: Sequence[Message]) -> list[Message]:
    """Joined to what the user says before or after: by this no two of his messages follow each
    other, which some templates refuse."""
    told: list[list[Message]] = []  # joined at the end, each once: there may be thousands
    joins = False  # the last one told ends with the system's words
    for message in messages:
        may_join = message.is_system or (joins and message.role == "user")
        as_user = Message("user", message.text) if message.is_system else message
        if may_join and told and told[-1][-1].role == "user":
            told[-1].append(as_user)
        else:
            told.append([as_user])
        joins = message.is_system
    return [replace(one[0], text=joined_text(one)) if len(one) > 1 else one[0] for one in told]


def joined_text(messages: Iterable[Message]) -> str:
    return "\n\n".join(message.text for message in messages if message.text)
