"""Tool calls that come in pieces, to Ollama's: each at once, its arguments an object."""

import msgspec

from edgellm.chat.events import ToolCallDelta
from edgellm.server.body import is_object


class CalledFunction(msgspec.Struct):
    index: int
    name: str
    arguments: msgspec.Raw  # an object, as the model wrote it


class ToolCall(msgspec.Struct):
    id: str
    function: CalledFunction


class Calls:
    """Those of one answer, in their order."""

    def __init__(self) -> None:
        self._begun: ToolCallDelta | None = None
        self._arguments: list[str] = []

    def add(self, delta: ToolCallDelta) -> list[ToolCall]:
        """The call that this one follows, if it begins another."""
        ended = self.end() if self._begun and delta.index != self._begun.index else []
        self._begun = self._begun or delta
        self._arguments.append(delta.arguments)
        return ended

    def end(self) -> list[ToolCall]:
        """The last one: none where the answer was cut off within it, as nobody may act on a part
        of what was meant."""
        begun, text = self._begun, "".join(self._arguments).strip() or "{}"
        self._begun, self._arguments = None, []
        if begun is None or not is_object(text):
            return []
        function = CalledFunction(begun.index, begun.name or "", msgspec.Raw(text.encode()))
        return [ToolCall(begun.id or "", function)]
