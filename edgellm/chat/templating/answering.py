"""Calls that nobody answered, and results that answer no call, where a template refuses them. Pure.

Clients that shorten a conversation leave such results, users who interrupt an agent such calls.
"""

from collections.abc import Callable, Sequence

from edgellm.chat.messages import Message


def orphans(messages: Sequence[Message]) -> frozenset[int]:
    """The places of results that answer no call before them."""
    called: set[str] = set()
    found: set[int] = set()
    for place, message in enumerate(messages):
        called.update(call.id for call in message.tool_calls)
        if message.role == "tool" and message.tool_call_id not in called:
            found.add(place)
    return frozenset(found)


def with_unanswered(
    messages: Sequence[Message], as_text: Callable[[Message], Message]
) -> list[Message]:
    """Messages whose calls have no result, as text; but for the last one, which may get some."""
    answered = {message.tool_call_id for message in messages if message.role == "tool"}

    def is_left(message: Message) -> bool:
        calls = message.tool_calls
        return bool(calls) and answered.isdisjoint(call.id for call in calls)

    told = [as_text(one) if is_left(one) else one for one in messages[:-1]]
    return [*told, *messages[-1:]]
