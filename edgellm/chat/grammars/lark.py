"""Grammars written for llguidance, in its dialect of Lark.

What is a lexeme there matters: lexemes are matched greedily and never given back. So text is
written as literals that no other literal at the same place is the start of, and free text ends in
a marker (`Rules.until`). Reference: llguidance, docs/syntax.md.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from edgellm.chat.grammars.json_schema import binding, lenient
from edgellm.chat.messages import Lark

# A model's own spacing, or none: free white space lets a small model write nothing else.
SPACING = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}


class Rules:
    """Collects rules; each `add` names a new one. The names are `r_0`, `r_1` ... and `start`."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._markers: list[str] = []

    def add(self, body: str) -> str:
        name = f"r_{len(self._lines)}"
        self._lines.append(f"{name}: {body}")
        return name

    def text(self, text: str) -> str:
        """This text, with the vocabulary's special tokens where it names them."""
        return f"m_{self._index(text)}"

    def plain(self, text: str) -> str:
        """This text, letter by letter."""
        return json.dumps(text, ensure_ascii=False)

    def until(self, text: str) -> str:
        """Any text, up to and with this one."""
        return f"u_{self._index(text)}"

    def json(self, schema: Mapping[str, Any], whose: str, *, is_strict: bool = False) -> str:
        """`whose`: the words by which an error blames it; written at the end of the rule's line.

        Unless it is strict, a keyword that llguidance doesn't know binds nothing.
        """
        if is_strict:
            bound = {**binding(schema), "x-guidance": SPACING}
        else:
            bound = {**lenient(schema), "x-guidance": SPACING | {"lenient": True}}
        return self.add(f"%json {json.dumps(bound)} // {whose}")

    def either(self, bodies: Iterable[str]) -> str:
        return self.add(" | ".join(bodies))

    def starting(self, body: str) -> Lark:
        return Lark("\n".join([f"start: {body}", *self._lines]), tuple(self._markers))

    def _index(self, text: str) -> int:
        if text not in self._markers:
            self._markers.append(text)
        return self._markers.index(text)
