"""What a message holds, made of the model's events: blocks that begin, grow and end, one by one."""

from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Raw

from edgellm.chat import events
from edgellm.server.anthropic import object as wire
from edgellm.server.body import is_object

_Told: TypeAlias = Iterator[wire.Happening]


class Content:
    """`blocks` are whole as far as they have ended."""

    def __init__(self, *, shows_thoughts: bool = True) -> None:
        self.blocks: list[wire.Block] = []
        self._shows_thoughts = shows_thoughts
        self._pieces: list[str] = []  # of the last block
        self._is_open = False
        self._n_calls = 0

    def add(self, event: events.TextDelta | events.ReasoningDelta | events.ToolCallDelta) -> _Told:
        match event:
            case events.TextDelta(text=text):
                if text:
                    yield from self._in_block(wire.Text)
                    yield from self._grown(text, wire.TextDelta(text))
            case events.ReasoningDelta(text):
                yield from self._in_block(wire.Thinking)
                if self._shows_thoughts:
                    yield from self._grown(text, wire.ThinkingDelta(text))
            case events.ToolCallDelta():
                yield from self._called(event)

    def close(self) -> _Told:
        """The block that is open, if one is."""
        if not self._is_open:
            return
        self._is_open, index, text = False, len(self.blocks) - 1, "".join(self._pieces)
        match self.blocks[-1]:
            case wire.Thinking() as block:
                block.thinking, block.signature = text, wire.SIGNATURE
                yield wire.BlockDelta(index, wire.SignatureDelta(wire.SIGNATURE))
            case wire.Text() as block:
                block.text = text
            case wire.ToolUse() as block:
                block.input = _object(text)
        yield wire.BlockStop(index)

    def _called(self, delta: events.ToolCallDelta) -> _Told:
        if delta.index == self._n_calls:
            self._n_calls += 1
            yield from self._begun(wire.ToolUse(delta.id or "", delta.name or ""))
        if delta.arguments:
            yield from self._grown(delta.arguments, wire.InputDelta(delta.arguments))

    def _in_block(self, kind: type[wire.Text | wire.Thinking]) -> _Told:
        if not (self._is_open and isinstance(self.blocks[-1], kind)):
            yield from self._begun(kind())

    def _begun(self, block: wire.Block) -> _Told:
        yield from self.close()
        self.blocks.append(block)
        self._pieces, self._is_open = [], True
        yield wire.BlockStart(len(self.blocks) - 1, block)

    def _grown(
        self, text: str, delta: wire.TextDelta | wire.ThinkingDelta | wire.InputDelta
    ) -> _Told:
        self._pieces.append(text)
        yield wire.BlockDelta(len(self.blocks) - 1, delta)


def _object(text: str) -> Raw:
    """A call's arguments. Where the answer was cut inside them there is no object to show."""
    return Raw(text.encode() if is_object(text) else b"{}")
