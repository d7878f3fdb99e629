"""Conversations that were cut, or begun by the model: templates that refuse them get them whole."""

import pytest

from edgellm.chat.messages import Message, Tool, ToolCall
from edgellm.chat.templating.answering import orphans, with_unanswered
from edgellm.chat.templating.template import ChatTemplate

SYSTEM, ASKED, AGAIN = Message("system", "S"), Message("user", "asked"), Message("user", "again")
SAID = Message("assistant", "said")
TOOLS = (Tool("clock"),)


def called(id, text=""):
    return Message("assistant", text, tool_calls=(ToolCall(id, "clock", '{"zone": "UTC"}'),))


def found(id):
    return Message("tool", "found", tool_call_id=id)


def as_said(message):
    return Message("assistant", "as text")


def test_a_result_is_an_orphan_where_no_call_before_it_has_its_id():
    assert orphans([found("a"), ASKED, called("a"), found("a"), found("b"), found(None)]) == {
        0, 4, 5,
    }  # fmt: skip
    assert orphans([ASKED, SAID]) == frozenset()


def test_calls_without_any_result_are_text_but_for_those_that_may_get_some():
    two = Message("assistant", "", tool_calls=called("a").tool_calls + called("b").tool_calls)
    talk = [ASKED, called("c"), AGAIN, two, found("b"), called("d")]
    assert with_unanswered(talk, as_said) == [
        ASKED, as_said(None), AGAIN, two, found("b"), called("d"),
    ]  # fmt: skip
    assert with_unanswered([], as_said) == []


# Mistral's rule and its words (mistralai/Mistral-Small-3.2-24B-Instruct-2506), and Gemma's rule.
MISTRALS = (
    "{%- set ns = namespace(index=0) %}{%- for message in messages %}"
    "{%- if message.role == 'user' or (message.role == 'assistant' and not message.tool_calls) %}"
    "{%- if (message.role == 'user') != (ns.index % 2 == 0) %}"
    "{{- raise_exception('roles must alternate') }}{%- endif %}"
    "{%- set ns.index = ns.index + 1 %}{%- endif %}{%- endfor %}"
    "{%- for message in messages %}"
    "{%- if message.tool_calls %}{%- for call in message.tool_calls %}"
    "[TOOL_CALLS]{{ call.function.name }}[ARGS]{{ call.function.arguments | tojson }}{% endfor %}|"
    "{%- elif message.role == 'tool' %}[TOOL_RESULTS]{{ message.content }}[/TOOL_RESULTS]"
    "{%- elif message.role == 'user' %}[INST]{{ message.content }}[/INST]"
    "{%- else %}{{ message.content }}|{%- endif %}{%- endfor %}"
    "{%- for tool in tools or [] %}<{{ tool.function.name }}>{%- endfor %}"
)
GEMMAS = (
    "{%- for message in messages %}{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{- raise_exception('roles must alternate') }}{%- endif %}"
    "<{{ message.role }}>{{ message.content }}{%- endfor %}"
)


def test_where_the_user_must_begin_and_does_not_an_empty_message_is_his():
    told = ChatTemplate(MISTRALS).render([SAID, ASKED])
    assert told == "[INST][/INST]said|[INST]asked[/INST]"
    assert ChatTemplate(GEMMAS).render([SAID, ASKED]) == "<user><assistant>said<user>asked"
    told = ChatTemplate(GEMMAS).render([SYSTEM, SAID, ASKED])
    assert told == "<user>S<assistant>said<user>asked"
    own = "{%- for one in messages %}<{{ one.role }}>{{ one.content }}{%- endfor %}"
    assert ChatTemplate(own).render([SAID, ASKED]) == "<assistant>said<user>asked"


def test_where_sides_alternate_a_call_that_was_interrupted_is_told_in_the_models_words():
    told = ChatTemplate(MISTRALS).render([ASKED, called("a"), AGAIN])
    assert told == ('[INST]asked[/INST][TOOL_CALLS]clock[ARGS]{"zone": "UTC"}|[INST]again[/INST]')
    answered = [ASKED, called("a", "aside"), found("a"), SAID, AGAIN]
    assert ChatTemplate(MISTRALS).render(answered) == (
        '[INST]asked[/INST][TOOL_CALLS]clock[ARGS]{"zone": "UTC"}|'
        "[TOOL_RESULTS]found[/TOOL_RESULTS]said|[INST]again[/INST]"
    )


REFUSES = (  # as gpt-oss' and MiniMax M2's do
    "{%- set ns = namespace(called=false) %}{%- for one in messages %}"
    "{%- if one.role == 'tool' and not ns.called %}{{- raise_exception('no call') }}{%- endif %}"
    "{%- if one.tool_calls %}{%- set ns.called = true %}{{- one.tool_calls[0].id }}{%- endif %}"
    "<{{ one.role }}>{{ one.content }}{%- endfor %}<tool_call>{{- tools }}"
)
LEAVES_OUT = (  # as Gemma 4's does
    "{%- set ns = namespace(called=false) %}{%- for one in messages %}"
    "{%- if one.tool_calls %}{%- set ns.called = true %}{{- one.tool_calls[0].id }}{%- endif %}"
    "{%- if one.role != 'tool' or ns.called %}<{{ one.role }}>{{ one.content }}{%- endif %}"
    "{%- endfor %}<tool_call>{{- tools }}"
)


WANTS_NAMES = (  # as Kimi K3's does: the result's own, or that of the call
    "{%- set ns = namespace(called=false) %}{%- for one in messages %}"
    "{%- if one.role == 'tool' and not (one.name or ns.called) %}{{- raise_exception('no name') }}"
    "{%- endif %}{%- if one.tool_calls %}{%- set ns.called = true %}{{- one.tool_calls[0].id }}"
    "{%- endif %}<{{ one.role }}>{{ one.content }}{%- endfor %}<tool_call>{{- tools }}"
)


@pytest.mark.parametrize("source", [REFUSES, LEAVES_OUT, WANTS_NAMES])
def test_a_result_without_its_call_is_the_users_text_where_the_template_has_no_place_for_it(source):
    told = ChatTemplate(source).render([found("a"), ASKED], tools=TOOLS)
    assert told.startswith("<user><tool_response>\nfound\n</tool_response><user>asked<tool_call>")
    told = ChatTemplate(source).render([ASKED, called("a"), found("a")], tools=TOOLS)
    assert told.startswith("<user>askeda<assistant><tool>found")


def test_elsewhere_it_stays_a_result():
    told = ChatTemplate(MISTRALS).render([found("a"), ASKED], tools=TOOLS)
    assert told == "[TOOL_RESULTS]found[/TOOL_RESULTS][INST]asked[/INST]<clock>"


def test_what_the_system_says_is_told_where_a_template_shows_it_with_the_users_words_alone():
    source = (  # as Mistral Nemo's does
        "{%- for one in messages if one.role != 'system' %}"
        "{%- if loop.first %}{{ messages[0].content }}|{%- endif %}{{ one.content }}{%- endfor %}"
    )
    assert ChatTemplate(source).render([SYSTEM]) == "S|"
