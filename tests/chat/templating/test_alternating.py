"""Conversations for templates that want one message of each side after the other."""

import time

import pytest

from edgellm.chat.messages import Message, Tool, ToolCall
from edgellm.chat.templating.alternating import alternating
from edgellm.chat.templating.systems import placed
from edgellm.chat.templating.template import ChatTemplate

ASKED, AGAIN = Message("user", "asked"), Message("user", "again")
SAID, MORE = Message("assistant", "said"), Message("assistant", "beside")
CALLED = Message("assistant", "", tool_calls=(ToolCall("callcall1", "clock", "{}"),))
FOUND = Message("tool", "found", tool_call_id="callcall1")

# Mistral's rule and its words for calls, Gemma's rule and none.
MISTRALS = (
    "{%- set ns = namespace(index=0) %}{%- for message in messages %}"
    "{%- if not (message.role == 'tool' or message.get('tool_calls')) %}"
    "{%- if (message.role == 'user') != (ns.index % 2 == 0) %}"
    "{{- raise_exception('roles must alternate') }}{%- endif %}"
    "{%- set ns.index = ns.index + 1 %}{%- endif %}{%- endfor %}"
    "{%- for message in messages %}"
    "{%- if message.get('tool_calls') %}[TOOL_CALLS]{{ message.tool_calls[0].function.name }}"
    "{%- elif message.role == 'tool' %}[TOOL_RESULTS]{{ message.content }}[/TOOL_RESULTS]"
    "{%- elif message.role == 'user' %}[INST]{{ message.content }}[/INST]"
    "{%- else %}{{ message.content }}{%- endif %}{%- endfor %}{{- tools }}"
)
GEMMAS = (
    "{%- for message in messages %}{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('roles must alternate') }}{%- endif %}"
    "<{{ message.role }}>{{ message.content }}{%- endfor %}"
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([ASKED, SAID, AGAIN], [ASKED, SAID, AGAIN]),
        ([ASKED, AGAIN], [Message("user", "asked\n\nagain")]),
        ([ASKED, SAID, MORE, AGAIN], [ASKED, Message("assistant", "said\n\nbeside"), AGAIN]),
        ([ASKED, CALLED, FOUND, SAID, AGAIN], [ASKED, CALLED, FOUND, SAID, AGAIN]),
        (
            [ASKED, CALLED, FOUND, AGAIN, SAID, ASKED],
            [
                ASKED,
                CALLED,
                Message("tool", "found\n\nagain", tool_call_id="callcall1"),
                SAID,
                ASKED,
            ],
        ),
        (
            [ASKED, SAID, CALLED, FOUND, MORE],
            [
                ASKED,
                Message("assistant", "said", tool_calls=CALLED.tool_calls),
                FOUND,
                MORE,
            ],
        ),
        ([ASKED, Message("assistant", ""), SAID], [ASKED, SAID]),
        ([ASKED, Message("assistant", ""), AGAIN], [Message("user", "asked\n\nagain")]),
        (
            [Message("assistant", "a", reasoning="1"), Message("assistant", "b", reasoning="2")],
            [Message("assistant", "a\n\nb", reasoning="1\n\n2")],
        ),
    ],
)
def test_neighbours_of_one_side_are_one_message(given, expected):
    assert alternating(given) == expected


@pytest.mark.parametrize("tools", [(), (Tool("clock"),)])
@pytest.mark.parametrize("source", [MISTRALS, GEMMAS])
def test_a_template_that_wants_turns_takes_what_agents_send(source, tools):
    template = ChatTemplate(source)
    talk = [ASKED, SAID, MORE, AGAIN, CALLED, FOUND, AGAIN, CALLED, FOUND, ASKED]
    prompt = template.render(talk, tools=tools)
    assert [prompt.count(word) for word in ("asked", "said", "beside", "again", "found")] == [
        2, 1, 1, 2, 2
    ]  # fmt: skip


def test_all_others_get_each_message_by_itself():
    template = ChatTemplate("{% for one in messages %}<{{ one.content }}>{% endfor %}")
    assert template.render([ASKED, AGAIN, SAID, MORE]) == "<asked><again><said><beside>"


def test_thousands_of_neighbours_are_joined_once():
    """Of each by the one before it, all words would be copied thousands of times: for seconds."""
    n, words = 16384, "x" * 512
    begun_s = time.process_time()
    (one,) = alternating([Message("user", words)] * n)
    (other,) = placed([Message("system", words)] * n, takes_first=False, takes_more=False)
    assert time.process_time() - begun_s < 1
    assert one == other == Message("user", "\n\n".join([words] * n))
