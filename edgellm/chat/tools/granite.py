"""`<|tool_call|>[{"name": ..., "arguments": {...}}]` up to the answer's end: IBM's Granite 3.

Its templates show the tools, and of past calls nothing. Granite 4 calls as Hermes does.
"""

from edgellm.chat.tools.listed import listed_format

_OPEN = "<|tool_call|>"


def speaks(source: str) -> bool:
    return _OPEN in source


FORMAT = listed_format("granite-3", speaks, (_OPEN,))
