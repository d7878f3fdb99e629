"""The calls of one answer, as deltas: first a call's index, id and name, then its arguments.

`end` says that a call is whole. One without it was cut off, and must not be acted on.
"""

from collections.abc import Callable, Sequence

from edgellm.chat.events import ToolCallDelta
from edgellm.chat.json_source import quoted
from edgellm.chat.messages import Tool
from edgellm.chat.source import Broken

_AROUND_NAME = 64  # characters that a format may write beside a name: spaces, ids


class Calls:
    """`tools` may be called. `new_id` comes from outside: it is random, and this room is pure."""

    def __init__(self, tools: Sequence[Tool], new_id: Callable[[], str]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._new_id = new_id
        self.max_name = max(map(len, self._tools), default=0) + _AROUND_NAME  # characters
        self.n = 0
        self.is_whole = False  # the last one
        self._n_members = 0  # of its arguments, where `member` writes them

    @property
    def any(self) -> bool:
        """Whether there is anything to call."""
        return bool(self._tools)

    def tool(self, name: str) -> Tool:
        """Raises Broken for a name that is no tool's: its text is no call."""
        if name not in self._tools:
            raise Broken(f"no tool is called {name[:40]!r}")
        return self._tools[name]

    def begin(self, name: str, id: str | None = None) -> ToolCallDelta:
        self.tool(name)
        self.n, self.is_whole, self._n_members = self.n + 1, False, 0
        return ToolCallDelta(self.n - 1, id or self._new_id(), name, "")

    def arguments(self, text: str) -> ToolCallDelta:
        """More of the last call's arguments."""
        return ToolCallDelta(self.n - 1, None, None, text)

    def member(self, key: str) -> ToolCallDelta:
        """The key of one more argument, for formats that are no JSON: its value is told next."""
        self._n_members += 1
        return self.arguments(f"{'{' if self._n_members == 1 else ', '}{quoted(key)}: ")

    def end_members(self) -> ToolCallDelta:
        """The brace behind the last `member`, or both: the last call's arguments are whole."""
        self.end()
        return self.arguments("}" if self._n_members else "{}")

    def end(self) -> None:
        """The last call's arguments are whole."""
        self.is_whole = True
