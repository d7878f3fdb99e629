"""`<|tool_call|>[{"name": ..., "arguments": {...}}]<|/tool_call|>`: Microsoft's Phi-4-mini.

Its template takes the tools as a text of the system message's, between marks of its own, and shows
no calls. (llama.cpp: models/templates/llama-cpp-microsoft-Phi-4-mini-instruct.jinja, the model's
card: huggingface.co/microsoft/Phi-4-mini-instruct)
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from edgellm.chat.messages import Message, Tool, ToolCall
from edgellm.chat.tools.generic import as_mapping, as_text, instructed, object_text
from edgellm.chat.tools.listed import listed_format

_OPEN, _CLOSE = "<|tool_call|>", "<|/tool_call|>"
_TOOLS, _END_TOOLS = "<|tool|>", "<|/tool|>"
_INSTRUCTIONS = (
    "To call functions, answer with their names and arguments:\n"
    f'{_OPEN}[{{"name": <function-name>, "arguments": <arguments-as-a-JSON-object>}}]{_CLOSE}'
)


def speaks(source: str) -> bool:
    return _TOOLS in source and _END_TOOLS in source


def adapt(messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
    told = as_text(messages, _calls_text)
    if not tools:
        return told
    shown = json.dumps([as_mapping(tool)["function"] for tool in tools], ensure_ascii=False)
    return instructed(told, f"{_INSTRUCTIONS}{_TOOLS}{shown}{_END_TOOLS}")


def _calls_text(calls: Sequence[ToolCall]) -> str:
    return f"{_OPEN}[{', '.join(map(object_text, calls))}]{_CLOSE}"


FORMAT = replace(listed_format("phi-4", speaks, (_OPEN,), _CLOSE), adapt=adapt, shows_tools=False)
