"""For templates that know no tools, or in words that we don't: the tools are told in the prompt.

The words are the most widely trained ones, `<tool_call>` and a JSON object (hermes.py), as plain
text. Past calls and results become text of the conversation in the same way.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from edgellm.chat.messages import Message, Tool, ToolCall
from edgellm.chat.tools import hermes

CallWords: TypeAlias = Callable[[Sequence[ToolCall]], str]

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
    return instructed(told, _INSTRUCTIONS.format(tools=lines))


def instructed(messages: Sequence[Message], instructions: str) -> list[Message]:
    """With these as the end of what the system says first."""
    if messages and messages[0].is_system:
        first = replace(messages[0], text=f"{messages[0].text}\n\n{instructions}")
        return [first, *messages[1:]]
    return [Message("system", instructions), *messages]


def as_text(messages: Sequence[Message], call_words: CallWords | None = None) -> list[Message]:
    """Calls and results in a conversation's words, as the instructions tell them; calls in others
    where there are `call_words`."""
    return list(_told(messages, call_words or _calls_text))


def as_mapping(tool: Tool) -> dict[str, object]:
    """A tool in OpenAI's words, which all templates know."""
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters) or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def _told(messages: Iterable[Message], call_words: CallWords) -> Iterator[Message]:
    results: list[str] = []
    for message in messages:
        if message.role == "tool":
            results.append(f"<tool_response>\n{message.text}\n</tool_response>")
            continue
        if results:
            yield Message("user", "\n".join(results))
            results = []
        if message.tool_calls:
            words = call_words(message.tool_calls)
            text = f"{message.text}\n{words}" if message.text else words
            yield replace(message, text=text, tool_calls=())
        else:
            yield message
    if results:
        yield Message("user", "\n".join(results))


def _calls_text(calls: Sequence[ToolCall]) -> str:
    return "\n".join(f"<tool_call>\n{object_text(call)}\n</tool_call>" for call in calls)


def object_text(call: ToolCall) -> str:
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{{"name": {name}, "arguments": {call.arguments}}}'


FORMAT = replace(hermes.FORMAT, name="generic", speaks=speaks, adapt=adapt, shows_tools=False)
