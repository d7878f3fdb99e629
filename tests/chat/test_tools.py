"""Each format's calls, heard whole and cut at every character."""

import json

import pytest
from chat.hearing import BY_NAME, hear, heard_every_way, listener
from chat.transcripts import ONE_CALL, TWO_CALLS

from edgellm.chat.events import Finished, TextDelta, ToolCallDelta

ROME = ("id1", "weather", '{"city": "Rome", "days": 2}')
TIME = ("id2", "clock", "{}")
BOTH = [ROME, TIME]


def test_every_format_has_its_transcript():
    assert {*TWO_CALLS, *ONE_CALL} == {*BY_NAME}


@pytest.mark.parametrize("name", TWO_CALLS)
def test_calls_are_told_however_their_text_is_cut(name):
    assert heard_every_way(BY_NAME[name], TWO_CALLS[name]) == ("", "", BOTH, "tool_calls")


@pytest.mark.parametrize(("name", "text"), [*TWO_CALLS.items(), *ONE_CALL.items()])
def test_an_answer_that_ends_inside_a_call_calls_nothing(name, text):
    for end in range(len(text) + 1):
        ear = listener(BY_NAME[name])
        *told, ending = [
            *ear.hear(TextDelta(text[:end])),
            *ear.hear(Finished("stop", 1, 0, 1, stop_word="x")),
        ]
        pieces = [one for one in told if isinstance(one, ToolCallDelta)]
        last = "".join(one.arguments for one in pieces if one.index == pieces[-1].index)
        assert ending.end == ("calls" if pieces and is_object(last) else "stop_word"), text[:end]
        assert ending.is_in_call == (bool(pieces) and ending.end != "calls")


def is_object(text):
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


@pytest.mark.parametrize("name", sorted(name for name, one in BY_NAME.items() if one.write))
def test_what_is_written_of_past_calls_is_heard_as_these(name):
    arguments = {"text": 'it\'s\n"so" \\', "tags": ["ü"], "loud": True, "any": {"k": [None, 1.5]}}
    text = BY_NAME[name].write([("note", arguments), ("clock", {})])
    said_text, _, calls, reason = heard_every_way(BY_NAME[name], text)
    assert (said_text, reason) == ("", "tool_calls")
    assert [(called, json.loads(written)) for _, called, written in calls] == [
        ("note", arguments), ("clock", {}),
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted({*TWO_CALLS} - {"llama-3"}))
def test_text_before_calls_stays_text_and_white_space_between_goes(name):
    text = f"Let me see:\n\n{TWO_CALLS[name]}\n"
    assert heard_every_way(BY_NAME[name], text) == ("Let me see:", "", BOTH, "tool_calls")


@pytest.mark.parametrize("name", TWO_CALLS)
def test_where_there_are_no_tools_everything_is_text(name):
    text = TWO_CALLS[name]
    assert heard_every_way(BY_NAME[name], text, tools=()) == (text, "", [], "stop")


@pytest.mark.parametrize("name", TWO_CALLS)
def test_a_call_of_a_tool_that_there_is_not_is_text(name):
    text = TWO_CALLS[name].replace("clock", "clack")
    said_text, _, calls, _ = heard_every_way(BY_NAME[name], text)
    assert calls == [ROME]
    assert "clack" in said_text


@pytest.mark.parametrize("name", {**TWO_CALLS, **ONE_CALL})
def test_whatever_is_cut_off_is_in_the_text_or_in_the_arguments(name):
    """Of any beginning of an answer, every letter of what it said is told."""
    text = {**TWO_CALLS, **ONE_CALL}[name]
    for end in range(len(text)):
        said_text, _, calls, reason = hear(BY_NAME[name], [text[:end]], reason="length")
        assert reason == "length"
        told = said_text + "".join(called + arguments for _, called, arguments in calls)
        begun = text[:end].partition("Rome")
        if begun[1]:
            assert "Rome" in told, f"cut at {end}: {told!r}"


@pytest.mark.parametrize("name", {**TWO_CALLS, **ONE_CALL})
def test_arguments_come_in_pieces_and_never_before_the_name(name):
    text = {**TWO_CALLS, **ONE_CALL}[name]
    _, _, calls, _ = hear(BY_NAME[name], list(text))
    assert json.loads(calls[0][2]) == {"city": "Rome", "days": 2}


def test_the_first_delta_of_a_call_has_its_id_and_name_and_no_arguments():
    first, second = listener(BY_NAME["hermes"]).hear(TextDelta(TWO_CALLS["hermes"]))[:2]
    assert first == ToolCallDelta(0, "id1", "weather", "")
    assert second == ToolCallDelta(0, None, None, '{"city": "Rome", "days": 2}')


HERMES = [
    ('<tool_call>{"arguments": {"city": "a"}, "name": "weather"}</tool_call>', '{"city": "a"}'),
    (r'<tool_call>{"name": "weather", "arguments": "{\"city\": \"a\"}"}', '{"city": "a"}'),
    ('<tool_call>{"name": "weather", "arguments": "{\n}"}</tool_call>', "{\n}"),
    ('<tool_call>{"name": "weather", "arguments": {\n"city": "a\nb"}}', '{\n"city": "a\\nb"}'),
    ('<tool_call>{"arguments": {"city": "\t"}, "name": "weather"}', '{"city": "\\t"}'),
    ('<tool_call>{"name": "weather", "arguments": null}</tool_call>', "{}"),
    ('<tool_call>{"name": "weather"}</tool_call>', "{}"),
    ('<tool_call>\n{"name": "weather", "arguments": {"city": "}]\\"{"}}', '{"city": "}]\\"{"}'),
    ('<tool_call>{"name":"weather","arguments":{"city":"Röm \\u00fc"}}', '{"city":"Röm \\u00fc"}'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "arguments"), HERMES)
def test_json_calls_are_understood_in_any_order_and_wrapping(text, arguments):
    assert heard_every_way(BY_NAME["hermes"], text)[2] == [("id1", "weather", arguments)]


WITHIN = [
    ('{\\"city\\": \n\\"a\nb\\"}', '{"city": \n"a\\nb"}'),
    (r"{\"days\": 1.50, \"city\": \"\nü\"}", r'{"days": 1.50, "city": "\nü"}'),
    (r"{\"city\": \"\ud83d\ude00\ud800\"}", r'{"city": "😀\ud800"}'),
]


@pytest.mark.parametrize(("within", "arguments"), WITHIN)
def test_arguments_in_a_string_are_json_as_they_stand_but_for_what_lacks_its_escape(
    within, arguments
):
    text = f'<tool_call>{{"name": "weather", "arguments": "{within}"}}</tool_call>'
    assert heard_every_way(BY_NAME["hermes"], text)[2] == [("id1", "weather", arguments)]


CODE = '{"text": "if (x) { y[0] = \\"}\\"; } // ]}", "tags": ["\\u00fc\\ud83d\\ude00", "a\\\\b"]}'
MARKS = '{"text": "</tool_call> [ARGS] <|tool_call_end|> ``` ;"}'
AROUND = {  # of one call: its tool's name, its arguments' JSON
    "nemotron": '<TOOLCALL>[{{"name": "{}", "arguments": {}}}]</TOOLCALL>',
    "granite-3": '<|tool_call|>[{{"name": "{}", "arguments": {}}}]',
    "hunyuan": '<tool_calls>[{{"name": "{}", "arguments": {}}}]</tool_calls>',
    "gigachat": '<|function_call|>{{"name": "{}", "arguments": {}}}<|message_sep|>',
    "gigachat-3": (
        '<|message_sep|>\n\nfunction call<|role_sep|>\n{{"name": "{}", "arguments": {}}}'
    ),
    "solar": (
        "<|tool_calls|><|tool_call:begin|>a1<|tool_call:name|>{}<|tool_call:args|>{}"
        "<|tool_call:end|>"
    ),
    "apertus": '<|tools_prefix|>[{{"{}": {}}}]<|tools_suffix|>',
    "hermes": '<tool_call>\n{{"name": "{}", "arguments": {}}}\n</tool_call>',
    "generic": '<tool_call>\n{{"name": "{}", "arguments": {}}}\n</tool_call>',
    "deepseek": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{}\n```json\n{}\n```"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "deepseek-v3.1": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{}<｜tool▁sep｜>{}"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "kimi": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.{}:0"
        "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"
    ),
    "mistral": '[TOOL_CALLS] [{{"name": "{}", "arguments": {}}}]',
    "mistral-args": "[TOOL_CALLS]{}[ARGS]{}",
    "llama-3": '{{"name": "{}", "parameters": {}}}',
    "command-r": (
        '<|START_ACTION|>[\n    {{"tool_call_id": "0", "tool_name": "{}", "parameters": {}}}\n]'
        "<|END_ACTION|>"
    ),
    "harmony": "<|channel|>commentary to=functions.{} <|constrain|>json<|message|>{}<|call|>",
}


@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize("arguments", [CODE, MARKS], ids=["brackets in strings", "marks"])
def test_what_stands_in_a_string_ends_nothing(name, arguments):
    text = AROUND[name].format("note", arguments)
    said_text, _, calls, _ = heard_every_way(BY_NAME[name], text)
    assert (said_text, calls) == ("", [("id1", "note", arguments)])


@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize("written", ["{}", "null", '""', '"{}"'])
def test_no_arguments_are_none_however_they_are_written(name, written):
    text = AROUND[name].format("clock", written)
    assert heard_every_way(BY_NAME[name], text) == ("", "", [("id1", "clock", "{}")], "tool_calls")


OTHERWISE = [  # as models write it that were taught otherwise
    ("hermes", '<tool_call>\n{ROME}\n{TIME}\n</tool_call>'),
    ("hermes", '<tool_call>[{ROME}, {TIME}]</tool_call>'),
    ("hermes", "{ROME}\n{TIME}"),
    ("hermes", "{ROME}\n</tool_call>\n<tool_call>\n{TIME}"),
    ("hermes", "```json\n[{ROME}, {TIME}]\n```"),
    ("hermes", "```\n{ROME}\n{TIME}\n```\n"),
    ("generic", "<tools>\n{ROME}\n{TIME}\n</tools>"),
    ("hermes", '<tool_call>{ROME_FUNCTION}</tool_call><tool_call>{TIME_FUNCTION}</tool_call>'),
    ("hunyuan", "<tool_calls>\n{ROME}\n{TIME}\n</tool_calls>"),  # MiniMax M1
    (
        "lfm2",
        '<|tool_call_start|>[{"name": "weather", "arguments": {"city": "Rome", "days": 2}}, '
        "clock()]<|tool_call_end|>",
    ),
    ("lfm2", '<|tool_call_start|>[weather(city="Rome", days=2,)]<|tool_call_end|>'
     "<|tool_call_start|>[clock( )]"),
    ("llama-3", "{ROME}\n{TIME}"),
    ("llama-3", "{ROME}, {TIME}"),
    ("llama-3", "[{ROME}, {TIME}]"),
    ("llama-3", "{ROME_FUNCTION}; {TIME_FUNCTION}"),
    ("mistral-args", '[TOOL_CALLS]weather{"city": "Rome", "days": 2}[TOOL_CALLS]clock {}'),
    (
        "qwen-coder",
        "<function=weather>\n<parameter=city>\nRome\n</parameter>\n<parameter=days>\n2\n"
        "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=clock>\n</function>",
    ),
    (
        "qwen-coder",
        "<tool_call>\n<function=weather>\n<parameter=city>\nRome\n</parameter>\n"
        "<parameter=days>\n2\n</parameter>\n</function>\n<function=clock>\n</function>\n"
        "</tool_call>",
    ),
    ("gemma-4", '<|tool_call>call:weather{"city":"Rome","days":2}<tool_call|>'
     '<|tool_call>call:clock{ }<tool_call|>'),
]  # fmt: skip
WORDS = {
    "{ROME}": '{"name": "weather", "parameters": {"city": "Rome", "days": 2}}',
    "{TIME}": '{"name": "clock", "parameters": {}}',
    "{ROME_FUNCTION}": (
        '{"type": "function", "function": '
        '{"name": "weather", "arguments": {"city": "Rome", "days": 2}}}'
    ),
    "{TIME_FUNCTION}": '{"type": "function", "function": "clock", "parameters": {}}',
}


@pytest.mark.parametrize(("name", "text"), OTHERWISE)
def test_calls_in_other_words_than_the_formats_are_heard_too(name, text):
    for word, written in WORDS.items():
        text = text.replace(word, written)
    assert heard_every_way(BY_NAME[name], text) == ("", "", BOTH, "tool_calls")


@pytest.mark.parametrize("text", ["{ROME}; and that was it", "{ROME}, [1]", "{ROME}\n\n{1}"])
def test_what_follows_a_call_and_is_none_stays_text(text):
    said_text, _, calls, _ = heard_every_way(
        BY_NAME["llama-3"], text.replace("{ROME}", WORDS["{ROME}"])
    )
    assert calls == [ROME]
    assert said_text.strip() == text.removeprefix("{ROME}").strip()


@pytest.mark.parametrize("name", ["hermes", "mistral", "llama-3"])
def test_openais_form_is_no_call_inside_itself(name):
    start = {"hermes": "<tool_call>", "mistral": "[TOOL_CALLS]", "llama-3": ""}[name]
    twice = '{"function": {"function": {"name": "clock", "arguments": {}}}}'
    assert heard_every_way(BY_NAME[name], start + twice) == (start + twice, "", [], "stop")
    deep = start + '{"function": ' * 5000
    assert hear(BY_NAME[name], [deep]) == (deep, "", [], "stop")


@pytest.mark.parametrize("name", ["hermes", "generic", "llama-3"])
@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Bob", "age": 3}',
        '{"city": "Rome"}',
        '{"name": "clock"',
        "{}",
        "{",
        "Like this: " + WORDS["{ROME}"],
    ],
)
def test_other_json_is_an_answer(name, text):
    assert heard_every_way(BY_NAME[name], text) == (text, "", [], "stop")


@pytest.mark.parametrize(
    "text",
    ['```json\n{"a": 1}\n```\nThis is it.', "```json\n", "```python\nx = {}\n```", "<tools> are"],
)
def test_a_fence_or_a_word_that_begins_no_call_is_text(text):
    assert heard_every_way(BY_NAME["hermes"], text) == (text, "", [], "stop")


CLOCK_TOLD = '{"name": "clock", "description": "Tells the time.", "parameters": {"type": "object"}}'


@pytest.mark.parametrize("name", ["hermes", "llama-3"])
@pytest.mark.parametrize(
    "text",
    [
        CLOCK_TOLD,
        f'{{"type": "function", "function": {CLOCK_TOLD}}}',
        f"```json\n[{CLOCK_TOLD}]\n```",
    ],
)
def test_an_answer_that_tells_of_a_tool_does_not_call_it(name, text):
    assert heard_every_way(BY_NAME[name], text) == (text, "", [], "stop")


@pytest.mark.parametrize("text", ['{"name": "clock", "price": 5}', '[{"name": "clock", "in": []}]'])
@pytest.mark.parametrize("begin", ["", "```json\n", "<tool_call>"])
def test_what_has_a_tools_name_and_other_things_than_arguments_is_no_call(begin, text):
    answer = begin + text
    assert heard_every_way(BY_NAME["hermes"], answer) == (answer, "", [], "stop")


@pytest.mark.parametrize(
    "begin",
    [
        '{"name": "Bob", "a',
        '```json\n{"args": ["-v", "--al',
        '{"id": {"org": "acme", "num',
        '{"index": [1, 2, 3',
        '{"type": {"kind": "lis',
    ],
)
def test_an_answer_in_json_is_told_as_soon_as_it_can_be_no_call(begin):
    assert listener(BY_NAME["hermes"]).hear(TextDelta(begin)) == [TextDelta(begin)]


def test_a_call_has_one_function():
    text = '<tool_call>{"function": {"name": "clock"}, "function": {"name": "weather"}}</tool_call>'
    assert heard_every_way(BY_NAME["hermes"], text)[2] == [("id1", "clock", "{}")]


def test_a_call_without_its_mark_is_none_inside_thoughts():
    text = "<think>\nI could write <function=clock></function>.</think>Hi"
    heard = heard_every_way(BY_NAME["qwen-coder"], text, style="</think>")
    assert heard == ("Hi", "I could write <function=clock></function>.", [], "stop")


TAGGED = [
    ("\nSan\n\nJosé\n", '"San\\n\\nJosé"'),
    ('\n"quoted" \\ back\n', '"\\"quoted\\" \\\\ back"'),
    ("\n</parameter> inside\n", '"</parameter> inside"'),
    ("plain", '"plain"'),
    ("\n\n", '""'),
    ("\n  indented\n", '"  indented"'),
]


@pytest.mark.parametrize(("written", "told"), TAGGED)
def test_a_string_in_tags_becomes_json_as_it_stands(written, told):
    text = f"<tool_call>\n<function=note>\n<parameter=text>{written}</parameter>\n</function>"
    calls = heard_every_way(BY_NAME["qwen-coder"], text)[2]
    assert calls == [("id1", "note", f'{{"text": {told}}}')]


@pytest.mark.parametrize(
    ("key", "written", "told"),
    [
        ("tags", '["a", "b"]', '["a", "b"]'),
        ("tags", "a, b", '"a, b"'),
        ("where", '{"room": "hall"}', '{"room": "hall"}'),
        ("loud", "true", "true"),
        ("loud", "True", "true"),
        ("loud", "very", '"very"'),
        ("any", "[1]", "[1]"),
        ("any", "1", '"1"'),
        ("unknown", "x", '"x"'),
    ],
)
def test_other_values_in_tags_are_what_the_schema_says(key, written, told):
    text = f"<tool_call>note<arg_key>{key}</arg_key><arg_value>{written}</arg_value></tool_call>"
    assert heard_every_way(BY_NAME["glm"], text)[2] == [("id1", "note", f'{{"{key}": {told}}}')]


def test_white_space_between_a_mark_and_a_call_goes():
    text = f"I look.\n<|END_TEXT|> {TWO_CALLS['command-r']}\n"
    heard = heard_every_way(BY_NAME["command-r"], text, style="<|END_THINKING|>")
    assert heard == ("I look.", "", BOTH, "tool_calls")


def test_llamas_built_ins_are_calls_too():
    text = '<|python_tag|>weather.call(city="Rome", days=2)'
    assert heard_every_way(BY_NAME["llama-3"], text)[2] == [ROME]


def test_a_key_of_an_argument_is_json_whatever_is_in_it():
    text = '<|python_tag|>weather.call("ci\\ty"="Rome")'
    [(_, name, arguments)] = heard_every_way(BY_NAME["llama-3"], text)[2]
    assert (name, json.loads(arguments)) == ("weather", {'"ci\\ty"': "Rome"})
