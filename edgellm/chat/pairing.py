"""Which result answers which call of a conversation. Pure.

Clients use ids again, in a later message or in the same one, and some send results without any. So
an id names a call only among those of the message that called last; where it names none, the
order counts. Here each call gets an id that no other has, and each result that id and the tool's
name: whoever comes after may look results up by their ids.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from edgellm.chat.messages import Message, ToolCall


def paired(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The same messages, in the same order. A result that answers no call stays as it is."""
    calls, told = _Calls(), list[Message]()
    for are_results, run in groupby(messages, lambda message: message.role == "tool"):
        several = list(run)
        told += calls.answered(several) if are_results else map(calls.called, several)
    return tuple(told)


class _Calls:
    """Those that were made so far."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._n_same: dict[str, int] = {}
        self._by_id: dict[str, deque[ToolCall]] = {}  # as the client wrote it: the latest message's
        self._waiting: dict[str, ToolCall] = {}  # of the message that called last, by their own ids

    def called(self, message: Message) -> Message:
        if not message.tool_calls:
            return message
        own = tuple(replace(call, id=self._own_id(call.id)) for call in message.tool_calls)
        self._by_id |= {call.id: deque[ToolCall]() for call in message.tool_calls}
        for given, call in zip(message.tool_calls, own, strict=True):
            self._by_id[given.id].append(call)
        self._waiting = {call.id: call for call in own}
        return replace(message, tool_calls=own)

    def answered(self, run: Sequence[Message]) -> list[Message]:
        """Those with ids first: what they leave over is for the others."""
        found = [self._with_id(result.tool_call_id) for result in run]
        return [
            _answering(result, call or self._next(result.name))
            for result, call in zip(run, found, strict=True)
        ]

    def _with_id(self, id: str | None) -> ToolCall | None:
        several = self._by_id.get(id or "")
        if not several:
            return None
        call = several.popleft() if len(several) > 1 else several[0]
        self._waiting.pop(call.id, None)
        return call

    def _next(self, name: str | None) -> ToolCall | None:
        """The first that waits: of this name, if one does."""
        named = (call for call in self._waiting.values() if call.name == name)
        call = next(named, None) or next(iter(self._waiting.values()), None)
        return self._waiting.pop(call.id) if call else None

    def _own_id(self, id: str) -> str:
        """The client's, unless an earlier call has it."""
        own = id
        while own in self._taken:
            self._n_same[id] = self._n_same.get(id, 0) + 1
            own = f"{id}_{self._n_same[id]}"
        self._taken.add(own)
        return own


def _answering(result: Message, call: ToolCall | None) -> Message:
    if call is None:
        return result
    return replace(result, tool_call_id=call.id, name=result.name or call.name)
