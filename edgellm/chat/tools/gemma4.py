"""`<|tool_call>call:NAME{key:<|"|>text<|"|>,other:1}<tool_call|>`: Gemma 4.

(llama.cpp: common/parsers/gemma4.cpp)
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgellm.chat.messages import Message, Tool
from edgellm.chat.tools.braced import Braces
from edgellm.chat.tools.marked import marked_format

_BRACES = Braces("<|tool_call>", "<tool_call|>", '<|"|>')


def adapt(messages: Sequence[Message], tools: Sequence[Tool]) -> Sequence[Message]:
    """Its templates write text after the calls and results of its message, and end the turn there.

    What was said before a call is a message before it.
    """
    return list(_text_first(messages))


def _text_first(messages: Sequence[Message]) -> Iterator[Message]:
    for message in messages:
        if message.text and message.tool_calls:
            yield replace(message, reasoning=None, tool_calls=())
            yield replace(message, text="")
        else:
            yield message


# Its models end thoughts now and then that they have not begun.
FORMAT = marked_format(
    "gemma-4",
    _BRACES.is_in,
    _BRACES.read,
    _BRACES.rule,
    starts=(_BRACES.open,),
    markers=(_BRACES.close, _BRACES.quote),
    wrappers=("<channel|>",),
    adapt=adapt,
)
