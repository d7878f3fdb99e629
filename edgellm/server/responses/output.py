"""A model's events to the items of a response, one after the other, and what is told of each.

An item is open while more of the same kind comes; what is told is told of the item as it is then,
so each happening has to be written before the next is asked for.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec
from msgspec import UNSET

from edgellm.chat.events import ReasoningDelta, TextDelta, Told, ToolCallDelta
from edgellm.server.openai.wire import ShownToken, chat_logprobs
from edgellm.server.responses import happenings as told
from edgellm.server.responses.happenings import Happening
from edgellm.server.responses.object import (
    CustomCall,
    FunctionCall,
    Item,
    Message,
    OutputText,
    Reasoning,
    ReasoningText,
    Status,
    SummaryText,
)
from edgellm.server.responses.tools import INPUT, Offered


class Output:
    """`items` is complete when it has been closed. `in_summary`: thoughts are told as a summary."""

    def __init__(
        self, response_id: str, offered: Mapping[str, Offered], *, in_summary: bool
    ) -> None:
        self.items: list[Item] = []
        self._own = response_id.partition("_")[2]
        self._offered, self._in_summary = offered, in_summary
        self._open: _Open | None = None

    def add(self, event: Told) -> Iterator[Happening]:
        match event:
            case TextDelta(text="", logprobs=()):
                return
            case TextDelta():
                yield from self._as(_Text)
            case ReasoningDelta():
                yield from self._as(_Summary if self._in_summary else _Thoughts)
            case ToolCallDelta(name=str()):
                yield from self.close("completed")
                yield from self._begin(self._call(event))
            case _:
                pass
        if self._open:
            yield from self._open.add(event)

    def close(self, status: Status) -> Iterator[Happening]:
        """The open item ends so."""
        if self._open:
            yield from self._open.close(status)
            self._open.item.status = status
            yield told.ItemDone(output_index=self._open.index, item=self._open.item)
            self._open = None

    def _as(self, kind: "type[_Text | _Thoughts | _Summary]") -> Iterator[Happening]:
        """The open item is of this kind."""
        if not isinstance(self._open, kind):
            yield from self.close("completed")
            yield from self._begin(kind(len(self.items), self._own))

    def _begin(self, opened: "_Open") -> Iterator[Happening]:
        self._open = opened
        self.items.append(opened.item)
        yield told.ItemAdded(output_index=opened.index, item=opened.item)
        yield from opened.begin()

    def _call(self, first: ToolCallDelta) -> "_Open":
        name = first.name or ""
        offered = self._offered.get(name, Offered("function", name))
        kind = _Custom if offered.kind == "custom" else _Function
        return kind(len(self.items), self._own, first.id or "", offered)


class _Open(Protocol):
    """`index` is its place among the items."""

    index: int

    @property
    def item(self) -> Item: ...

    def begin(self) -> Iterator[Happening]: ...

    def add(self, event: Told) -> Iterator[Happening]: ...

    def close(self, status: Status) -> Iterator[Happening]: ...


class _Text:
    def __init__(self, index: int, own: str) -> None:
        self.index, self.item = index, Message(f"msg_{own}_{index}")
        self._parts: list[str] = []
        self._shown: list[ShownToken] = []

    def begin(self) -> Iterator[Happening]:
        yield told.PartAdded(item_id=self.item.id, output_index=self.index, part=OutputText(""))

    def add(self, event: Told) -> Iterator[Happening]:
        if not isinstance(event, TextDelta):
            return
        shown = chat_logprobs(event.logprobs).content
        self._parts.append(event.text)
        self._shown += shown
        yield told.TextDelta(
            item_id=self.item.id, output_index=self.index, delta=event.text, logprobs=shown
        )

    def close(self, status: Status) -> Iterator[Happening]:
        part = OutputText("".join(self._parts), logprobs=self._shown)
        at, id = self.index, self.item.id
        yield told.TextDone(item_id=id, output_index=at, text=part.text, logprobs=part.logprobs)
        yield told.PartDone(item_id=id, output_index=at, part=part)
        self.item.content.append(part)


class _Thoughts:
    def __init__(self, index: int, own: str) -> None:
        self.index, self.item = index, Reasoning(f"rs_{own}_{index}")
        self._parts: list[str] = []

    def begin(self) -> Iterator[Happening]:
        yield told.PartAdded(item_id=self.item.id, output_index=self.index, part=ReasoningText(""))

    def add(self, event: Told) -> Iterator[Happening]:
        if isinstance(event, ReasoningDelta):
            self._parts.append(event.text)
            yield told.ReasoningDelta(
                item_id=self.item.id, output_index=self.index, delta=event.text
            )

    def close(self, status: Status) -> Iterator[Happening]:
        part = ReasoningText("".join(self._parts))
        at, id = self.index, self.item.id
        yield told.ReasoningDone(item_id=id, output_index=at, text=part.text)
        yield told.PartDone(item_id=id, output_index=at, part=part)
        self.item.content.append(part)


class _Summary:
    """The thoughts in full where OpenAI's models tell a summary of theirs."""

    def __init__(self, index: int, own: str) -> None:
        self.index, self.item = index, Reasoning(f"rs_{own}_{index}")
        self._parts: list[str] = []

    def begin(self) -> Iterator[Happening]:
        yield told.SummaryAdded(item_id=self.item.id, output_index=self.index, part=SummaryText(""))

    def add(self, event: Told) -> Iterator[Happening]:
        if isinstance(event, ReasoningDelta):
            self._parts.append(event.text)
            yield told.SummaryDelta(item_id=self.item.id, output_index=self.index, delta=event.text)

    def close(self, status: Status) -> Iterator[Happening]:
        part = SummaryText("".join(self._parts))
        at, id = self.index, self.item.id
        yield told.SummaryTextDone(item_id=id, output_index=at, text=part.text)
        yield told.SummaryDone(item_id=id, output_index=at, part=part)
        self.item.summary.append(part)


class _Function:
    def __init__(self, index: int, own: str, call_id: str, offered: Offered) -> None:
        self.index = index
        self.item = FunctionCall(
            f"fc_{own}_{index}", call_id, offered.name, offered.namespace or UNSET
        )
        self._parts: list[str] = []

    def begin(self) -> Iterator[Happening]:
        yield from ()

    def add(self, event: Told) -> Iterator[Happening]:
        if isinstance(event, ToolCallDelta) and event.arguments:
            self._parts.append(event.arguments)
            yield told.ArgumentsDelta(
                item_id=self.item.id, output_index=self.index, delta=event.arguments
            )

    def close(self, status: Status) -> Iterator[Happening]:
        self.item.arguments = "".join(self._parts)
        yield told.ArgumentsDone(
            item_id=self.item.id, output_index=self.index, arguments=self.item.arguments
        )


class _Custom:
    """The model has written JSON around its one text, which is known when all of it is there."""

    def __init__(self, index: int, own: str, call_id: str, offered: Offered) -> None:
        self.index = index
        self.item = CustomCall(
            f"ctc_{own}_{index}", call_id, offered.name, offered.namespace or UNSET
        )
        self._parts: list[str] = []

    def begin(self) -> Iterator[Happening]:
        yield from ()

    def add(self, event: Told) -> Iterator[Happening]:
        if isinstance(event, ToolCallDelta):
            self._parts.append(event.arguments)
        yield from ()

    def close(self, status: Status) -> Iterator[Happening]:
        self.item.input = _input("".join(self._parts))
        at, id = self.index, self.item.id
        if self.item.input:
            yield told.InputDelta(item_id=id, output_index=at, delta=self.item.input)
        yield told.InputDone(item_id=id, output_index=at, input=self.item.input)


def _input(arguments: str) -> str:
    """Empty where the answer was cut before its end."""
    try:
        return msgspec.json.decode(arguments, type=dict[str, str]).get(INPUT, "")
    except msgspec.DecodeError:
        return ""
