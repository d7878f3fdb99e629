"""`<tool_calls>[{"name": ..., "arguments": {...}}]</tool_calls>`: Hunyuan, Apriel, Jamba."""

from edgellm.chat.tools.listed import listed_format

_OPEN, _CLOSE = "<tool_calls>", "</tool_calls>"


def speaks(source: str) -> bool:
    return _OPEN in source


FORMAT = listed_format("hunyuan", speaks, (_OPEN,), _CLOSE)
