import json

import msgspec
import pytest
from msgspec import inspect
from openai_bodies import chat, chat_written, completion, refused

from edgellm.chat.messages import GBNF, Choices, JSONSchema, Message, Regex, SamplingParams
from edgellm.errors import BadRequest
from edgellm.server.body import json_depth
from edgellm.server.openai.requests import ChatBody, chat_request


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"1", b'"x"', b"{} trailing", b"\xef\xbb\xbf{}", b"{'a':1}",
        b'{"messages":[{"role":"user","content":"\xff"}]}',
        b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"messages":' + b"[" * 100_000,
        b'{"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"unknown":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"messages":[]}', b'{"messages":null}', b"{}", b'{"messages":[{}]}',
        b'{"messages":[{"role":"wizard","content":"x"}]}',
        b'{"messages":[{"role":"user","content":5}]}',
    ],
    ids=lambda body: repr(body[:24]),
)  # fmt: skip
def test_a_body_that_is_no_chat_is_a_bad_request(body):
    refused(chat_request, body, "__mark__")


CALLED = (
    b'{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":%s}}]}]}'
)


@pytest.mark.parametrize(
    ("field", "written", "param"),
    [
        ("guided_json", b'{"a": "%s"}', None),
        ("guided_json", b'"{%s}"', None),
        ("json_schema", b'{"a": "%s"}', None),
        ("response_format", b'{"type":"json_object","schema":{"a":"%s"}}',
         "response_format.schema"),
        ("chat_template_kwargs", b'{"a": "%s"}', None),
        ("tools", b'[{"type":"function","function":{"name":"f","parameters":{"a":"%s"}}}]',
         "tools[0].function.parameters"),
        ("temperature", b'"%s"', None),
    ],
)  # fmt: skip
def test_a_field_whose_strings_are_no_text_is_refused_by_name(field, written, param):
    error = refused(chat_written, field, written.replace(b"%s", b"\xff"))
    assert error.param == (param or field)
    assert str(error).startswith(f"{error.param}: is not UTF-8")


@pytest.mark.parametrize("arguments", [b'{"a": "\xff"}', b'"{\xff}"'])
def test_a_call_whose_arguments_are_no_text_is_refused_by_name(arguments):
    error = refused(chat_request, CALLED.replace(b"%s", arguments), "__mark__")
    assert error.param == "messages[0].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("chat_template_kwargs", b'{"a": 1e999}'),
        ("tools", b'[{"type":"function","function":{"name":"f","parameters":{"a":1e999}}}]'),
        ("guided_json", b'{"a": 1e999}'),
        ("json_schema", b'{"type": "number", "maximum": 1e999}'),
        ("json_schema", b'{"enum": [[{"a": -1e999}]]}'),
    ],
)
def test_a_field_with_a_number_that_is_none_is_refused_by_name(field, written):
    error = refused(chat_written, field, written)
    assert str(error.param).startswith(field)
    assert "is not JSON" in str(error)


def test_null_counts_as_absent():
    nothing = {field.encode_name: None for field in inspect.type_info(ChatBody).fields}
    del nothing["messages"]
    request = chat(**nothing)
    assert request.params.sampling == SamplingParams()
    assert (request.model, request.stream, request.params.n) == ("", False, 1)
    assert request.params.structure is None


def test_unknown_fields_are_passed_over():
    chat(user="u", store=True, metadata={}, service_tier="auto", chat_parser="no", n_discard=-1)


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    request = chat(messages=[{"role": "system", "content": parts, "name": "Ann"}])
    assert request.messages == (Message("system", "ab", "Ann"),)


def test_what_the_assistant_has_refused_is_its_text():
    said = [{"type": "text", "text": "No"}, {"type": "refusal", "refusal": ", never."}]
    request = chat(messages=[{"role": "assistant", "content": said}])
    assert request.messages == (Message("assistant", "No, never."),)


def test_no_rivals_of_no_tokens_ask_for_nothing():
    assert chat(top_logprobs=0, logprobs=False).params.logprobs is None


def test_an_assistant_message_may_be_empty():
    request = chat(messages=[{"role": "assistant", "content": None}])
    assert request.messages == (Message("assistant", ""),)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        (
            {"messages": [{"role": "user", "content": [{"type": "sound", "sound": {}}]}]},
            "messages[0].content[0]",
            "'sound' is not served, only text",
        ),
        ({"functions": [{}]}, "functions", "replaced them by tools"),
        ({"modalities": ["text", "audio"]}, "modalities", "'audio' is not served"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 4097}]},
            "messages[0].content",
            "length <= 4096",
        ),
        ({"chat_template": "{{ x }}"}, "chat_template", "model's own"),
        ({"top_logprobs": 3}, "top_logprobs", "needs logprobs"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"stop": ["x"] * 129}, "stop", "128"),
        ({"stop": "x" * 513}, "stop", "512"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "int"),
        ({"logit_bias": {"-1": 1}}, "logit_bias", "0"),
        ({"logit_bias": {"1": 101}}, "logit_bias[...]", "100"),
        ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias", "1024"),
        ({"regex": "a" * 513}, "regex", "512"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "xml"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing"),
        ({"json_schema": [1]}, "json_schema", "object"),
        ({"json_schema": {"a": "x" * 70_000}}, "json_schema", "65536"),
        ({"json_schema": json.loads('{"a":' * 33 + "1" + "}" * 33)}, "json_schema", "33 deep"),
        ({"json_schema": {}, "regex": "a"}, "regex", "json_schema and regex exclude"),
        ({"choices": ["a"], "grammar": 'root ::= "a"'}, "grammar", "exclude"),
        ({"choices": [""]}, "choices[0]", "empty"),
        ({"grammar": "a" * 70_000}, "grammar", "65536"),
        ({"reasoning_format": "loud"}, "reasoning_format", "loud"),
        ({"chat_template_kwargs": [1]}, "chat_template_kwargs", "object"),
        ({"chat_template_kwargs": {"a": "x" * 20_000}}, "chat_template_kwargs", "16384"),
        (
            {"chat_template_kwargs": json.loads('{"a":' * 17 + "1" + "}" * 17)},
            "chat_template_kwargs",
            "17 deep",
        ),
    ],
)
def test_what_is_not_served_is_refused_by_name(fields, param, words):
    error = refused(chat, **fields)
    assert error.param == param
    assert words in str(error)


@pytest.mark.parametrize(
    ("fields", "rule", "field"),
    [
        ({"choices": ["yes", "no"]}, Choices(("yes", "no")), "choices"),
        ({"grammar": 'root ::= "a"'}, GBNF('root ::= "a"'), "grammar"),
        ({"regex": "a+"}, Regex("a+"), "regex"),
        ({"json_schema": {}}, JSONSchema("{}"), "json_schema"),
        ({"guided_json": {"type": "null"}}, JSONSchema('{"type": "null"}'), "guided_json"),
        ({"guided_json": '{"type":"null"}'}, JSONSchema('{"type":"null"}'), "guided_json"),
        ({"guided_regex": "a+"}, Regex("a+"), "guided_regex"),
        ({"guided_choice": ["a"]}, Choices(("a",)), "guided_choice"),
        ({"guided_grammar": 'root ::= "a"'}, GBNF('root ::= "a"'), "guided_grammar"),
        *(
            ({"structured_outputs": {key: value}}, rule, f"structured_outputs.{key}")
            for key, value, rule in (
                ("json", {"type": "null"}, JSONSchema('{"type": "null"}')),
                ("regex", "a+", Regex("a+")),
                ("choice", ["a"], Choices(("a",))),
                ("grammar", 'root ::= "a"', GBNF('root ::= "a"')),
                ("json_object", True, JSONSchema('{"type":"object"}')),
            )
        ),
    ],
)
def test_a_structure_knows_the_field_that_asks_for_it(fields, rule, field):
    for asked in (chat(**fields), completion(**fields)):
        assert asked.params.structure == rule
        assert asked.structure_field == field


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": [1], "suffix": "end"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [[1], 2]}, "prompt"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": ["a"] * 65}, "prompt"),
        ({"prompt": ["a"] * 9, "n": 8}, "n"),
        ({"prompt": [1], "echo": True}, "echo"),
        ({"echo": True, "logprobs": 0}, "logprobs"),
        ({"echo": True, "n_probs": 3}, "n_probs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n_predict": 0}, "n_predict"),
        ({"min_tokens": 4}, "min_tokens"),
    ],
)
def test_completions_refuse_by_name(fields, param):
    assert refused(completion, **fields).param == param


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": -1}, None),
        ({"n_predict": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": 4}, 4),
    ],
)
def test_the_newest_word_for_the_length_wins(fields, expected):
    assert chat(**fields).params.max_tokens == expected


def test_a_schema_travels_as_it_was_written():
    body = b'{"messages":[{"role":"user","content":"x"}],"json_schema": {"b":1, "a":"\\u00e9"} }'
    assert chat_request(body, "__mark__").params.structure == JSONSchema('{"b":1, "a":"\\u00e9"}')


@pytest.mark.parametrize(
    ("text", "depth"), [("{}", 1), ('{"a":[{}]}', 3), ('{"a":"[[[\\"[["}', 1), ("1", 0)]
)
def test_depth_counts_brackets_outside_of_strings(text, depth):
    assert json_depth(text) == depth


def test_a_chat_of_many_megabytes_is_decoded_quickly():
    body = {"messages": [{"role": "user", "content": "x" * 1000}] * 4096}
    assert len(chat_request(msgspec.json.encode(body), "__mark__").messages) == 4096


@pytest.mark.parametrize(
    ("field", "asks", "says_nothing"),
    [
        ("min_tokens", 5, 0),
        ("stop_token_ids", [2], []),
        ("bad_words", ["x"], []),
        ("prompt_logprobs", 0, None),
        ("add_generation_prompt", False, True),
        ("function_call", {"name": "f"}, "auto"),
        ("t_max_predict_ms", 100, -1),
        ("skip_special_tokens", False, True),
    ],
)
def test_what_would_change_the_answer_and_is_not_served_is_refused(field, asks, says_nothing):
    assert refused(chat, **{field: asks}).param == field
    assert chat(**{field: says_nothing}) == chat()


BEGUN = [{"role": "user", "content": "Say"}, {"role": "assistant", "content": "The answer"}]


@pytest.mark.parametrize(
    ("more", "goes_on"),
    [
        ({}, True),
        ({"continue_final_message": True, "add_generation_prompt": False}, True),
        ({"continue_final_message": "content"}, True),
        ({"continue_final_message": None, "add_generation_prompt": True}, True),
        ({"continue_final_message": False}, False),
    ],
)
def test_a_last_message_of_the_assistants_is_gone_on_with_unless_it_shall_not(more, goes_on):
    assert chat(messages=BEGUN, **more).continues is goes_on
    assert not chat().continues


def test_whether_it_goes_on_is_yes_or_no():
    assert (
        refused(chat, messages=BEGUN, continue_final_message=[1]).param == "continue_final_message"
    )
    assert refused(completion, continue_final_message=True).param == "continue_final_message"
    more = {"continue_final_message": False, "add_generation_prompt": False}
    assert refused(chat, messages=BEGUN, **more).param == "add_generation_prompt"


def test_a_call_without_its_result_is_not_gone_on_with():
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    talk = [BEGUN[0], {"role": "assistant", "tool_calls": [call]}]
    assert not chat(messages=talk).continues


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("min_tokens", b"0.0"),
        ("stop_token_ids", b"[ ]"),
        ("allowed_token_ids", b"[]"),
        ("bad_words", b'""'),
        ("bad_words", b"[\n]"),
        ("t_max_predict_ms", b"-1.0"),
        ("function_call", b'"\\u0061uto"'),
    ],
)
def test_what_asks_for_nothing_may_be_written_in_any_way(field, written):
    assert chat_written(field, written) == chat()


@pytest.mark.parametrize("written", [b'"\xff"', b"[1]", b"[" * 40 + b"]" * 40])
def test_what_asks_for_something_or_cannot_be_read_is_refused(written):
    with pytest.raises(BadRequest, match="bad_words: is not served"):
        chat_written("bad_words", written)


def test_vllms_defaults_of_a_structure_ask_for_nothing():
    choice = {"choice": ["a"]}
    defaults = {"disable_additional_properties": False} | dict.fromkeys(
        ("json", "regex", "grammar", "json_object", "whitespace_pattern", "structural_tag")
    )
    asked = chat(structured_outputs=choice | defaults)
    assert asked.params.structure == Choices(("a",))
    for field in ("whitespace_pattern", "structural_tag"):
        error = refused(chat, structured_outputs=choice | {field: True})
        assert error.param == f"structured_outputs.{field}"


def test_a_structure_of_vllms_that_is_not_served_is_refused():
    error = refused(chat, structured_outputs={"structural_tag": "x"})
    assert "structural_tag" in str(error)
    assert refused(chat, guided_regex="a", regex="b").param == "guided_regex"


@pytest.mark.parametrize("text", ["{nonsense", '{"a": [}', '{"a": 1} b'])
def test_a_schema_in_a_string_is_json(text):
    tools = [{"type": "function", "function": {"name": "f"}}]
    for asked in ({"guided_json": text}, {"structured_outputs": {"json": text}}):
        for more in ({}, {"tools": tools}):
            error = refused(chat, **asked, **more)
            assert error.param in ("guided_json", "structured_outputs.json")
            assert "is not JSON" in str(error)


def test_a_length_of_none_is_refused_by_the_name_that_the_client_gave_it():
    error = refused(chat, max_completion_tokens=0)
    assert error.param == "max_completion_tokens"
    assert str(error).startswith("max_completion_tokens: ")
