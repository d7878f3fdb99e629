"""Values as Python writes them: what is told is JSON, however it was cut."""

import json

import pytest
from chat.hearing import BY_NAME, NOTE, WEATHER, hear, heard_every_way

from edgellm.chat.messages import Message, ToolCall
from edgellm.chat.templating.template import ChatTemplate

OPEN, CLOSE = "<|tool_call_start|>[", "]<|tool_call_end|>"


def heard(inside, **how):
    return heard_every_way(BY_NAME["lfm2"], f"{OPEN}{inside}{CLOSE}", **how)


VALUES = [
    ("'a'", "a"),
    ('"a"', "a"),
    ("''", ""),
    ("'it's done'", "it's done"),  # some templates escape nothing
    ('"say "hi" now"', 'say "hi" now'),
    (r"'it\'s'", "it's"),
    (r'"a\"b\\c\/d\n\te"', 'a"b\\c/d\n\te'),
    (r"'\u00fc\x41\ud83d\ude00\U0001F600'", "üA😀😀"),
    (r"'\d+\u12'", r"\d+\u12"),  # no escapes
    ("'two\nlines'", "two\nlines"),
    ("'''He said 'a', and\n\"b\"'''", "He said 'a', and\n\"b\""),
    ("1.50", 1.5),
    ("-3e2", -300.0),
    ("True", True),
    ("false", False),
    ("None", None),
    ("null", None),
    ("1 + 1", "1 + 1"),
    ("Rome", "Rome"),
    ("['a', True, [None], ]", ["a", True, [None]]),
    ("('a', 2)", ["a", 2]),
    ("{'k': {\"l\": [1]}, 2: 'b'}", {"k": {"l": [1]}, "2": "b"}),
    ("{}", {}),
    ("[ ]", []),
]


@pytest.mark.parametrize(("written", "value"), VALUES)
def test_a_value_of_pythons_is_told_in_json(written, value):
    text, _, calls, reason = heard(f"note(text='x', any={written})")
    assert (text, reason) == ("", "tool_calls")
    assert json.loads(calls[0][2]) == {"text": "x", "any": value}


def test_white_space_stands_anywhere_and_a_comma_behind_the_last_argument():
    assert heard(" weather( city = 'Rome' , days = 2 , ) ,\n clock() ")[2] == [
        ("id1", "weather", '{"city": "Rome", "days": 2}'),
        ("id2", "clock", "{}"),
    ]


NONE = ["", "weather", "weather(", "weather('Rome')", "clack(a=1)", "clock", "1", "weather(days)"]


@pytest.mark.parametrize("inside", NONE)
def test_what_calls_nothing_is_text(inside):
    assert heard(inside) == (f"{OPEN}{inside}{CLOSE}", "", [], "stop")


def test_what_breaks_behind_its_name_keeps_what_was_told_and_the_rest_is_text():
    text, _, calls, reason = heard("weather(city='Rome' or 2, days=2)")
    assert calls == [("id1", "weather", '{"city": "Rome\' or 2, days=2)]<|tool_call_end|>')]
    assert (text, reason) == ("", "stop")


def test_values_inside_values_without_end_break_off():
    text = f"{OPEN}note(any={'[' * 5000}"
    said, _, calls, reason = hear(BY_NAME["lfm2"], [text])
    assert calls[0][2].startswith('{"any": [[[')
    assert (said[:3], reason) == ("[[[", "stop")
    assert len(said) + len(calls[0][2]) == len('{"any": ') + 5000


SHOWS_TOOLS_ALONE = (  # as LFM2's template does (LiquidAI/LFM2-8B-A1B)
    "{%- if tools -%}List of tools: <|tool_list_start|>{{ tools | tojson }}<|tool_list_end|>"
    "{%- endif -%}{%- for message in messages -%}"
    "{{- message['role'] + ': ' + message['content'] + '\n' -}}{%- endfor -%}"
)


def test_past_calls_are_in_the_models_words_where_its_template_shows_none():
    arguments = '{"text": "it\'s\\n", "loud": true, "tags": ["a"], "any": {"k": null}}'
    talk = [
        Message("user", "Hi"),
        Message("assistant", "So:", tool_calls=(ToolCall("1", "note", arguments),)),
        Message("tool", "ok", name="note", tool_call_id="1"),
    ]
    prompt = ChatTemplate(SHOWS_TOOLS_ALONE).render(talk, tools=(NOTE, WEATHER))
    call = r"""note(text="it's\n", loud=True, tags=["a"], any={"k": None})"""
    assert prompt.endswith(f"user: Hi\nassistant: So:{OPEN}{call}{CLOSE}\ntool: ok\n")
    assert heard(call)[2] == [("id1", "note", arguments)]
