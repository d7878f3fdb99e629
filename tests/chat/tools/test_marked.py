import json

import pytest
from chat.hearing import BY_NAME, heard_every_way, listener, said

from edgellm.chat.events import Finished, TextDelta

BROKEN = [
    ("hermes", "<tool_call>[1]</tool_call>"),
    ("qwen-coder", "#include <functional> and <function=x>"),
    ("llama-3", "[1, 2]"),
    ("hermes", "A <tool_call> is a tag.\n"),
    ("hermes", '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>'),
    ("hermes", '<tool_call>{"name": 5, "arguments": {}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "weather", "arguments": "\\q"}</tool_call>'),
    ("hermes", '<tool_call>{"thought": "x", "name": "weather"}'),
    ("hermes", '<tool_call>\n{"name": "wea'),
    ("qwen-coder", "<tool_call>\n<function=weather is nice"),
    ("glm", "<tool_call>weather is nice</tool_call>"),
    ("deepseek", "<｜tool▁calls▁begin｜>nothing"),
    ("mistral", "[TOOL_CALLS] is how I call"),
    ("mistral-args", "[TOOL_CALLS]weather is nice"),
    ("llama-3", '{"answer": {"name": "weather", "parameters": {}}}'),
    ("llama-3", '{"name": "Bob", "parameters": {}} is Bob'),
    ("llama-3", 'So: {"name": "weather", "parameters": {}}'),
    ("command-r", "<|START_ACTION|>{}"),
    ("gemma-4", "<|tool_call>call:weather<tool_call|>"),
    ("kimi", "<|tool_calls_section_begin|>none<|tool_calls_section_end|>"),
    ("minimax", "<minimax:tool_call>\nnone"),
]


@pytest.mark.parametrize(("name", "text"), BROKEN)
def test_a_broken_call_is_text_to_the_last_letter(name, text):
    assert heard_every_way(BY_NAME[name], text) == (text, "", [], "stop")


ENDLESS = [
    ("hermes", '<tool_call>{"arguments": {"a": "'),
    ("hermes", '<tool_call>{"arguments": ['),
    ("mistral", '[TOOL_CALLS]{"arguments": {"a": '),
    ("deepseek", "<｜tool▁call▁begin｜>so and so "),
    ("llama-3", "<|python_tag|>so "),
    ("qwen-coder", "<tool_call>\n<function=note>"),
    ("gemma-4", "<|tool_call>call:so and so "),
]


@pytest.mark.parametrize(("name", "unit"), ENDLESS)
def test_calls_inside_calls_that_never_end_are_read_a_few_times_not_each_to_the_end(name, unit):
    text = unit * (80_000 // len(unit))
    ear = listener(BY_NAME[name])
    heard = [ear.hear(TextDelta(text)), ear.hear(Finished("length", 1, 0, 1))]
    assert said([event for events in heard for event in events])[0] == text
    assert ear.n_reread < 4 * len(text)


NAMELESS = [
    ("deepseek", "<｜tool▁call▁begin｜>"),
    ("kimi", "<|tool_call_begin|>"),
    ("llama-3", "<|python_tag|>"),
    ("mistral-args", "[TOOL_CALLS]"),
    ("mistral-args", "[TOOL_CALLS]clock[CALL_ID]"),
    ("gemma-4", "<|tool_call>call:"),
    ("qwen-coder", "<tool_call>\n<function="),
    ("harmony", "<|channel|>"),
]


@pytest.mark.parametrize(("name", "start"), NAMELESS)
def test_a_name_that_does_not_end_is_text_before_the_answer_ends(name, start):
    text = start + "print_a-b" * 50
    assert heard_every_way(BY_NAME[name], text)[:3] == (text, "", [])
    told = listener(BY_NAME[name]).hear(TextDelta(text))
    assert said(told)[0] == text


def test_after_a_broken_call_the_next_one_is_still_heard():
    text = '<tool_call>oh <tool_call>{"name": "clock", "arguments": {}}</tool_call>!'
    said_text, _, calls, _ = heard_every_way(BY_NAME["hermes"], text)
    assert said_text == "<tool_call>oh!"
    assert calls == [("id1", "clock", "{}")]


@pytest.mark.parametrize("name", ["hermes", "generic"])
def test_half_of_the_mark_behind_a_call_is_no_text(name):
    call, end = '<tool_call>\n{"name": "clock", "arguments": {}}', "\n</tool_call>"
    for n in range(len(end) + 1):
        told = heard_every_way(BY_NAME[name], call + end[:n], reason="length")
        assert told == ("", "", [("id1", "clock", "{}")], "length")
    told = heard_every_way(BY_NAME[name], f"{call}\n</tool>")
    assert told == ("</tool>", "", [("id1", "clock", "{}")], "tool_calls")


def test_arguments_that_break_off_go_on_as_text():
    text = '<tool_call>{"name": "weather", "arguments": {"city": ]}} and more'
    said_text, _, calls, _ = heard_every_way(BY_NAME["hermes"], text)
    assert calls == [("id1", "weather", '{"city": ')]
    assert said_text == "]}} and more"


WRAPPED = [
    ("command-r", "<|START_RESPONSE|>Hi there<|END_RESPONSE|>", "<|END_THINKING|>"),
    ("command-r", "<|START_TEXT|>Hi there<|END_TEXT|>", "<|END_THINKING|>"),
    ("gemma-4", "<|channel>thought\n<channel|>Hi there<channel|>", "<channel|>"),
]


@pytest.mark.parametrize(("name", "text", "style"), WRAPPED)
def test_marks_around_text_are_no_part_of_it(name, text, style):
    assert heard_every_way(BY_NAME[name], text, style=style) == ("Hi there", "", [], "stop")


SPACED = [
    ("gemma-4", "one <channel|> two\n\n<channel|>\n three", "one  two\n\n\n three"),
    ("gemma-4", "one <|channel>thought\nhm<channel|> two\n", "one  two\n"),
    ("gemma-4", "\n<channel|> \none<channel|>\n", "one\n"),
    ("command-r", "one <|START_TEXT|>two <|END_TEXT|>\n\nthree", "one two \n\nthree"),
]


@pytest.mark.parametrize(("name", "text", "told"), SPACED)
def test_white_space_between_texts_stays_where_marks_stand_in_it(name, text, told):
    style = {"gemma-4": "<channel|>", "command-r": "<|END_THINKING|>"}[name]
    assert heard_every_way(BY_NAME[name], text, style=style)[0] == told


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "minimax",
            '<minimax:tool_call>\n<invoke name="note">\n<parameter name="text">{}</parameter>\n'
            '<parameter name="any">{}</parameter>\n</invoke>\n</minimax:tool_call>',
        ),
        (
            "seed-oss",
            "<seed:tool_call>\n<function=note>\n<parameter=text>{}</parameter>\n"
            "<parameter=any>{}</parameter>\n</function>\n</seed:tool_call>",
        ),
    ],
)
def test_what_looks_like_a_values_end_inside_it_is_text_of_it(name, text):
    value = "a</parameter> b\n</parameter>"
    (call,) = heard_every_way(BY_NAME[name], text.replace("{}", value))[2]
    assert json.loads(call[2]) == {"text": value, "any": value}
