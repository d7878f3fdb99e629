"""Functionary v3.2: each message of an answer is for somebody."""

import pytest
from chat.hearing import BY_NAME, heard_every_way

from edgellm.chat.messages import ChatRequest, GenerateParams, JSONSchema, Message, Stages, Tool
from edgellm.chat.templating.template import ChatTemplate
from edgellm.chat.turn import turn

ROME = '{"city": "Rome"}'


def heard(text, **how):
    return heard_every_way(BY_NAME["functionary-3.2"], text, **how)


@pytest.mark.parametrize(
    ("answer", "text", "calls"),
    [
        ("all\nHello, world!\nWhat's up?\n", "Hello, world!\nWhat's up?\n", []),
        (f"weather\n{ROME}>>>clock\n{{}}", "", [("weather", ROME), ("clock", "{}")]),
        (f"all\nLet me see. >>>weather\n{ROME}", "Let me see.", [("weather", ROME)]),
        (f"weather\n{ROME}\n>>>all\nIt rains.", "It rains.", [("weather", ROME)]),
        ("all\nIn Python:\n>>> x = 1\n>>> x", "In Python:\n>>> x = 1\n>>> x", []),
        ("clack\n{}", "clack\n{}", []),
        ("No recipient", "No recipient", []),
        ('{"a": 1}', '{"a": 1}', []),
        ("all\nOne.>>>all\nTwo.", "One.Two.", []),
        ("", "", []),
    ],
)
def test_what_is_for_a_tool_is_its_call_and_all_else_is_text(answer, text, calls):
    said, _, found, reason = heard(answer)
    assert (said, [call[1:] for call in found]) == (text, calls)
    assert reason == ("tool_calls" if found else "stop")


def test_without_tools_the_recipient_is_no_text_either():
    assert heard("all\nHello", tools=()) == ("Hello", "", [], "stop")


V3_2 = (  # as meetkai/functionary-medium-v3.2's does
    "{%- if tools %}>>>${recipient} {{ tools }}{%- endif %}{%- for one in messages %}"
    "{%- if one.role == 'assistant' %}>>>all\n{{ one.content }}{%- else %}{{ one.content }}"
    "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}>>>{%- endif %}"
)


def test_a_bound_answer_is_for_all_and_a_call_is_bound_from_its_tools_name_on():
    template, asked = ChatTemplate(V3_2), (Message("user", "Hi"),)
    bound = turn(template, ChatRequest("m", asked, GenerateParams(structure=JSONSchema("{}"))))
    assert isinstance(bound.params.structure, Stages)
    assert '"all\\n"' in bound.params.structure.stages[0].grammar
    watched = turn(template, ChatRequest("m", asked, tools=(Tool("clock"),)))
    assert watched.params.structure.stages[0].at_start == ("clock\n",)
