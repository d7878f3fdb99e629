"""Hearing an answer in tests: whole, and cut in every way; all must say the same."""

from edgellm.chat.answer import Listener
from edgellm.chat.events import Finished, ReasoningDelta, TextDelta, ToolCallDelta
from edgellm.chat.messages import Tool
from edgellm.chat.thoughts import style_of, thoughts_of
from edgellm.chat.tools import FORMATS
from edgellm.chat.tools.calls import Calls

BY_NAME = {format.name: format for format in FORMATS}

WEATHER = Tool(
    "weather",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
    "Tells the weather.",
)
CLOCK = Tool("clock", {}, "Tells the time.")
NOTE = Tool(
    "note",
    {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "where": {"type": "object", "properties": {"room": {"enum": ["hall", "attic"]}}},
            "loud": {"type": "boolean"},
            "any": {},
        },
        "required": ["text"],
    },
)
TOOLS = (WEATHER, CLOCK, NOTE)


def numbered():
    numbers = iter(range(1, 1000))
    return lambda: f"id{next(numbers)}"


def listener(format, tools=TOOLS, *, style="", opened=False):
    thoughts = thoughts_of(style_of(style), opened=opened, apart=bool(style))
    return Listener(format, Calls(tools, numbered()), thoughts)


def said(events):
    """What the events add up to: text, thoughts, calls as (id, name, arguments), the reason."""
    text, thoughts, calls, reason = "", "", [], None
    for event in events:
        match event:
            case TextDelta(more):
                text += more
            case ReasoningDelta(more):
                thoughts += more
            case ToolCallDelta(index, id, name, more):
                if index == len(calls):
                    assert id, "the first delta of a call must have its id"
                    assert name, "the first delta of a call must have its name"
                    calls.append([id, name, ""])
                else:
                    assert (id, name) == (None, None), "a call is introduced once"
                    assert index == len(calls) - 1, "calls don't interleave"
                calls[index][2] += more
            case Finished(reason):
                pass
    return text, thoughts, [tuple(call) for call in calls], reason


def hear(format, pieces, *, reason="stop", **how):
    ear = listener(format, **how)
    events = [told for piece in pieces for told in ear.hear(TextDelta(piece))]
    return said([*events, *ear.hear(Finished(reason, 1, 0, 1))])


def heard_every_way(format, text, **how):
    """What is said, and the proof that no cut changes it."""
    whole = hear(format, [text], **how)
    assert hear(format, list(text), **how) == whole, "a character at a time"
    for at in range(1, len(text)):
        assert hear(format, [text[:at], text[at:]], **how) == whole, f"cut at {at}: {text[:at]!r}"
    return whole
