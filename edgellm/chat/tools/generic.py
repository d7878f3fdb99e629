"""For templates that know no tools, or in words that we don't: the tools are told in the prompt.

The words are the most widely trained ones, `<tool_call>` and a JSON object (hermes.py), as plain
text. Past calls and results become text of the conversation in the same way.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from edgellm.chat.messages import Message, Tool, ToolCall
from edgellm.chat.tools import hermes

_INSTRUCTIONS = """\
# Tools

You may call one or more of these functions, one JSON object each:
<tools>
{tools}
</tools>

To call a function, answer with its name and arguments in <tool_call></tool_call>:
<tool_call>
{{"name": <function-name>, "arguments": <arguments-as-a-JSON-object>}}
</tool_call>"""


def speaks(source: str) -> bool:
    return True


def adapt(messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
    told = as_text(messages)
    if not tools:
        return told
    lines = "\n".join(json.dumps(as_mapping(tool), ensure_ascii=False) for tool in tools)
    instructions = _INSTRUCTIONS.format(tools=lines)
    if told and told[0].is_system:
        first = replace(told[0], text=f"{told[0].text}\n\n{instructions}")
        return [first, *told[1:]]
    return [Message("system", instructions), *told]


def as_text(messages: Sequence[Message]) -> list[Message]:
    """Calls and results in a conversation's words, as the instructions tell them."""
    return list(_told(messages))


def as_mapping(tool: Tool) -> dict[str, object]:
    """A tool in OpenAI's words, which all templates know."""
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters) or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def _told(messages: Iterable[Message]) -> Iterator[Message]:
    results: list[str] = []
    for message in messages:
        if message.role == "tool":
            results.append(f"<tool_response>\n{message.text}\n</tool_response>")
            continue
        if results:
            yield Message("user", "\n".join(results))
            results = []
        if message.tool_calls:
            parts = [message.text, *(_call_text(call) for call in message.tool_calls)]
            text = "\n".join(part for part in parts if part)
            yield replace(message, text=text, tool_calls=())
        else:
            yield message
    if results:
        yield Message("user", "\n".join(results))


def _call_text(call: ToolCall) -> str:
    name = json.dumps(call.name, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {call.arguments}}}\n</tool_call>'


FORMAT = replace(hermes.FORMAT, name="generic", speaks=speaks, adapt=adapt, shows_tools=False)
