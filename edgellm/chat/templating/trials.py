"""What a chat template can do. It says so nowhere, so it is tried: is a word in what it renders?

llama.cpp does the same (common/jinja/caps.cpp). Each trial is made when it is first asked for.
"""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeAlias

from edgellm.chat.thoughts import SWITCHES
from edgellm.errors import BadRequest

Render: TypeAlias = Callable[[Mapping[str, Any]], str]

_NEEDLE = "needle"
_NAMED_DEVELOPER = re.compile(r"""["']developer["']""")
_USER = {"role": "user", "content": "x"}
_RESULT = {"role": "tool", "content": _NEEDLE, "name": "x", "tool_call_id": "callcall0"}
_NOTHING: Mapping[str, Any] = {}
_TOOL = {
    "type": "function",
    "function": {
        "name": _NEEDLE,
        "description": "x",
        "parameters": {
            "type": "object",
            "properties": {"key": {"type": "string", "description": "x"}},
        },
    },
}


class Trials:
    """`render` gives the text of `source` for these variables, or raises BadRequest."""

    def __init__(self, source: str, render: Render) -> None:
        self._source, self._render = source, render

    @cached_property
    def no_tools(self) -> list[Any] | None:
        """What stands for "no tools": an empty list where it fails on None, as templates do that
        were only ever meant for tools."""
        fails_without = self._tried([_USER], None) is None
        return [] if fails_without and self._tried([_USER], []) is not None else None

    @cached_property
    def takes_system(self) -> bool:
        """Whether a system message comes out at all."""
        return _NEEDLE in (self._text([{"role": "system", "content": _NEEDLE}, _USER]) or "")

    @cached_property
    def takes_more_systems(self) -> bool:
        """Whether others come out, too: after the first one, and in the midst of the talk."""
        first, second, later = (
            {"role": "system", "content": f"{_NEEDLE} {n}"} for n in ("a", "b", "c")
        )
        answer = {"role": "assistant", "content": "x"}
        text = self._text([first, second, _USER, answer, later, _USER])
        return all(f"{_NEEDLE} {n}" in (text or "") for n in ("a", "b", "c"))

    @cached_property
    def needs_user(self) -> bool:
        """Whether it refuses a conversation in which the user has said nothing, or leaves out what
        the system says there, with tools or without; and not with an empty message of his."""
        system, silent = {"role": "system", "content": _NEEDLE}, {"role": "user", "content": ""}
        return any(
            _NEEDLE not in (self._text([system], tools) or "")
            and _NEEDLE in (self._text([system, silent], tools) or "")
            for tools in (None, [_TOOL])
        )

    @cached_property
    def wants_user_first(self) -> bool:
        """Whether it refuses one in which the assistant has the first word, and takes it behind an
        empty message of the user's."""
        talk, silent = (
            [{"role": "assistant", "content": "x"}, _USER],
            {"role": "user", "content": ""},
        )
        return self._text(talk) is None and self._text([silent, *talk]) is not None

    @cached_property
    def alternates(self) -> bool:
        """Whether it refuses two messages of the same side in a row."""
        one, two = ([_USER] * n for n in (1, 2))
        return self._text(two) is None and self._text(one) is not None

    @cached_property
    def takes_developer(self) -> bool:
        """Whether that role is one it knows. Many write any role as it is: these name it nowhere.
        Others name it, and leave out what it says."""
        if not _NAMED_DEVELOPER.search(self._source):
            return False
        return _NEEDLE in (self._text([{"role": "developer", "content": _NEEDLE}, _USER]) or "")

    @cached_property
    def switches_thoughts(self) -> bool:
        """Whether a request can say if the model thinks: the prompts differ then."""
        if not any(name in self._source for name in SWITCHES):
            return False
        on, off = (
            self._tried([_USER], self.no_tools, dict.fromkeys(SWITCHES, thinks))
            for thinks in (True, False)
        )
        return None not in (on, off) and on != off

    @cached_property
    def shows_tools(self) -> bool:
        return _NEEDLE in (self._text([_USER], tools=[_TOOL]) or "")

    @cached_property
    def shows_calls(self) -> bool:
        """Whether past calls come out, by their names or ids. Mistral's are nine letters long.
        A template that refuses the trial is not judged by it."""
        texts = (self._call_text({"key": "value"}), self._call_text('{"key": "value"}'))
        shown = [_NEEDLE in text for text in texts if text is not None]
        return any(shown) or not shown

    @cached_property
    def takes_objects(self) -> bool:
        """Whether a past call's arguments are given as an object; else as JSON text.

        With an object, templates that want text fail, or write it as Python would.
        """
        text = self._call_text({"key": "value"})
        if text is None:
            return self._call_text('{"key": "value"}') is None
        return "{'key'" not in text

    @cached_property
    def shows_results(self) -> bool:
        """Whether what a call gave comes out, told in a message of its own. Here, too, a refusal
        is no answer."""
        return self._result_text is None or _NEEDLE in self._result_text

    @cached_property
    def shows_orphans(self) -> bool:
        """Whether a result comes out that no call stands before, which may have told its name."""
        nameless = {key: value for key, value in _RESULT.items() if key != "name"}
        return _NEEDLE in (self._text([_USER, nameless]) or "")

    @cached_property
    def takes_responses(self) -> bool:
        """Whether a result is shown as a field of the message that called, otherwise than as a
        message of its own: see responses.py. The field's name must be in the source, since a
        template that writes whole messages out shows any field."""
        if "tool_responses" not in self._source:
            return False
        responses = [{"name": "x", "response": _NEEDLE}]
        text = self._text([_USER, self._calling({"tool_responses": responses})])
        return _NEEDLE in (text or "") and text != self._result_text

    @cached_property
    def _result_text(self) -> str | None:
        return self._text([_USER, self._calling({}), _RESULT])

    def _calling(self, more: Mapping[str, Any]) -> dict[str, Any]:
        arguments: Any = {"key": "value"} if self.takes_objects else '{"key": "value"}'
        function = {"name": "x", "arguments": arguments}
        call = {"id": "callcall0", "type": "function", "function": function}
        return {"role": "assistant", "content": "", "tool_calls": [call], **more}

    def _call_text(self, arguments: Any) -> str | None:
        function = {"name": _NEEDLE, "arguments": arguments}
        call = {"id": f"{_NEEDLE}000", "type": "function", "function": function}
        answer = {"role": "assistant", "content": "", "tool_calls": [call]}
        result = {"role": "tool", "content": "x", "name": "x", "tool_call_id": "result000"}
        return self._text([_USER, answer, result])

    def _text(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None
    ) -> str | None:
        return self._tried(messages, tools or self.no_tools)

    def _tried(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        told: Mapping[str, Any] = _NOTHING,
    ) -> str | None:
        clock = {"strftime_now": lambda form: "2026"}
        variables = {"messages": messages, "tools": tools, "add_generation_prompt": True, **clock}
        try:
            return self._render({**told, **variables})
        except BadRequest:
            return None
