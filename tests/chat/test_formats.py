"""Which format a chat template speaks, and what a format makes of a conversation for its template.

The excerpts are the few characters in which real templates differ.
"""

from dataclasses import replace

import pytest
from chat.hearing import BY_NAME, CLOCK, WEATHER

from edgellm.chat.messages import Message, ToolCall
from edgellm.chat.tools import FORMATS, format_of

EXCERPTS = [
    ("harmony", "{{- '<|start|>assistant<|channel|>final<|message|>' + message.content }}"),
    ("mistral-args", "{{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' + arguments }}"),
    ("mistral", '{{- "[TOOL_CALLS] [" }}{%- set out = tool_call.function|tojson %}'),
    ("deepseek-v3.2", "{%- set dsml_token = '｜DSML｜' -%}<{{ dsml_token }}function_calls>"),
    ("deepseek-v4", "{%- set dsml_token = '｜DSML｜' -%}<{{ dsml_token }}tool_calls>"),
    ("deepseek", "'<｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + '\\n' + '```json'"),
    ("deepseek-v3.1", "'<｜tool▁call▁begin｜>'+ name + '<｜tool▁sep｜>' + arguments"),
    ("kimi", "<|tool_calls_section_begin|>{%- for tc in calls %}<|tool_call_begin|>{{ tc.id }}"),
    ("kimi-k3", "{{- '<|open|>' + tag + '<|sep|>' }}{{- '<|close|>' }}{{- '<|end_of_msg|>' -}}"),
    ("solar", "{{- '<|tool_call:begin|>' + id + '<|tool_call:name|>' + function.name }}"),
    ("command-r", "<|START_ACTION|>[{%- for tc in message.tool_calls %}"),
    ("gemma-4", "{{- '<|tool_call>call:' + function['name'] + '{' -}}"),
    ("functiongemma", "{{- '<start_function_call>call:' + tool_call['name'] + '{' -}}"),
    ("apertus", "{%- set tool_calls_token = '<|tools_prefix|>' -%}"),
    ("lfm2", 'ns.system_prompt + "List of tools: <|tool_list_start|>["'),
    ("lfm2", 'ns.system_prompt + ("\\n" if ns.system_prompt else "") + "List of tools: ["'),
    ("lfm2", '{{- "<|tool_call_start|>[" + (tool_calls_ns.tool_calls | join(", ")) }}'),
    ("olmo-3", '{{- "<|im_start|>assistant\\n<function_calls>\\n" }}'),
    ("nemotron", "{{- '<TOOLCALL>[' -}}"),
    ("phi-4", "message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>'"),
    ("functionary", "{{ '<function=' + call.function.name + '>' }}{{ '</function>' }}"),
    ("functionary-3.2", "Respond in this format:\\n>>>${recipient}\\n{% %}{{ '>>>all\\n' }}"),
    ("granite-3", "respond only with <|tool_call|> followed by a JSON list of tools used."),
    ("gigachat", "{{ '<|function_call|>' }}{{ '<|message_sep|>' }}{{ '<|role_sep|>' }}"),
    ("gigachat-3", "'function call' + '<|role_sep|>\\n' + call|tojson + '<|message_sep|>\\n\\n'"),
    ("hy3", "{%- set HYTK = ':opensource' %}{%- set toolsep = '<tool_sep{}>'.format(HYTK) %}"),
    ("hunyuan", "content + '<tool_calls>' + ns.tool_calls + '</tool_calls>'"),
    ("hunyuan", "<tool_calls>[{%- for tool_call in message['tool_calls'] -%}"),
    ("minicpm-5", "'<function name=\"' ~ name ~ '\">' '<param name=\"' ~ key ~ '\">'"),
    ("glm", "{{ '\\n<tool_call>' + tc.name }}<arg_key>{{ k }}</arg_key>"),
    ("seed-oss", "<seed:tool_call>\n<function={{ name }}><parameter={{ key }}>"),
    ("minimax", "<minimax:tool_call><invoke name=\"{{ name }}\">"),
    ("qwen-coder", "'<tool_call>\\n<function=' + name + '>\\n'<parameter="),
    ("hermes", "'<tool_call>\\n{\"name\": \"' + tool_call.name"),
    ("llama-3", "{{- '<|python_tag|>' + tool_call.name + '.call(' }}"),
    ("llama-3", '{"name": function name, "parameters": dictionary of argument name and its value}'),
    ("generic", "{% for message in messages %}{{ message.content }}{% endfor %}"),
    ("minimax-m3", "{%- set ns_token = ']<]minimax[>[' -%}<tool_call>{{ '<invoke name=\"' }}"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "excerpt"), EXCERPTS)
def test_a_template_gives_its_format_away(name, excerpt):
    assert format_of(excerpt).name == name


def test_every_format_is_found_by_an_excerpt():
    assert {name for name, _ in EXCERPTS} == {format.name for format in FORMATS}


def test_the_last_format_speaks_for_everyone():
    assert FORMATS[-1].speaks("")
    assert not any(format.speaks("") for format in FORMATS[:-1])


ASKED = Message("user", "Rain?")
CALLS = (ToolCall("call_long_id", "weather", '{"city": "Rome"}'), ToolCall("b", "clock", "{}"))
CALLING = Message("assistant", "Let me see.", reasoning="hm", tool_calls=CALLS)
RESULTS = (
    Message("tool", "no", name="weather", tool_call_id="call_long_id"),
    Message("tool", "noon", name="clock", tool_call_id="b"),
)
TALK = [ASKED, CALLING, *RESULTS, Message("user", "Thanks")]


def adapted(name, messages=TALK, tools=(WEATHER, CLOCK)):
    return list(BY_NAME[name].adapt(messages, tools))


@pytest.mark.parametrize("name", ["hermes", "glm", "command-r", "deepseek"])
def test_most_templates_take_a_conversation_as_it_is(name):
    assert adapted(name) == TALK


@pytest.mark.parametrize("name", ["llama-3", "harmony"])
def test_where_a_message_takes_one_call_each_is_followed_by_its_result(name):
    told = adapted(name)
    assert [(m.role, [c.name for c in m.tool_calls]) for m in told] == [
        ("user", []), ("assistant", ["weather"]), ("tool", []), ("assistant", ["clock"]),
        ("tool", []), ("user", []),
    ]  # fmt: skip
    assert [m.text for m in told if m.role == "tool"] == ["no", "noon"]
    assert [m.reasoning for m in told if m.role == "assistant"] == ["hm", None]


def test_harmony_leaves_out_the_text_beside_thoughts_and_a_call():
    assert adapted("harmony")[1].text == ""
    quiet = [ASKED, replace(CALLING, reasoning=None), *RESULTS]
    assert adapted("harmony", quiet)[1].text == "Let me see."


@pytest.mark.parametrize("name", ["mistral", "mistral-args"])
def test_mistrals_ids_have_nine_characters_and_results_keep_theirs(name):
    told = adapted(name)
    ids = [call.id for call in told[1].tool_calls]
    assert all(len(id) == 9 and id.isalnum() for id in ids)
    assert ids == [told[2].tool_call_id, told[3].tool_call_id]
    assert adapted(name)[1] == told[1], "the same id each time"
    own = replace(CALLING, tool_calls=(ToolCall("abc123XYZ", "clock", "{}"),))
    assert adapted(name, [own])[0].tool_calls[0].id == "abc123XYZ"


def test_kimis_ids_are_the_name_and_the_calls_number():
    told = adapted("kimi")
    assert [call.id for call in told[1].tool_calls] == ["functions.weather:0", "functions.clock:1"]
    assert told[3].tool_call_id == "functions.clock:1"


def test_deepseeks_results_come_in_the_order_of_their_calls():
    asked, calling, *results, last = TALK
    for order in (results, results[::-1]):
        assert adapted("deepseek-v4", [asked, calling, *order, last]) == TALK
    assert adapted("deepseek-v3.2", [asked, calling, *results[::-1], last]) != TALK


def test_what_is_said_before_a_call_is_a_message_before_it_where_templates_write_it_after():
    asked, calling, *others = TALK
    said, silent = replace(calling, reasoning=None, tool_calls=()), replace(calling, text="")
    assert adapted("gemma-4") == [asked, said, silent, *others]
    assert adapted("gemma-4", [asked, silent, *others]) == [asked, silent, *others]


def test_a_template_without_tools_is_told_them_in_the_system_message():
    told = adapted("generic")
    assert told[0].role == "system"
    assert '"name": "weather"' in told[0].text
    assert adapted("generic", [Message("system", "Be brief."), ASKED])[0].text.startswith(
        "Be brief.\n\n# Tools"
    )


def test_a_template_without_tools_has_calls_and_results_as_text():
    told = adapted("generic", tools=())
    assert [m.role for m in told] == ["user", "assistant", "user", "user"]
    assert told[1].tool_calls == ()
    assert told[1].text == (
        "Let me see.\n"
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
    )
    assert told[2].text == (
        "<tool_response>\nno\n</tool_response>\n<tool_response>\nnoon\n</tool_response>"
    )
