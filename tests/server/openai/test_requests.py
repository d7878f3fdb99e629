import json
from dataclasses import fields

import msgspec
import pytest
from msgspec import inspect

from edgellm.chat.messages import (
    GBNF,
    SAMPLERS,
    Choices,
    JSONSchema,
    Message,
    Regex,
    SamplingParams,
    Tool,
    ToolCall,
    ToolChoice,
)
from edgellm.errors import BadRequest
from edgellm.server.body import json_depth
from edgellm.server.openai.requests import (
    ChatBody,
    CompletionBody,
    chat_request,
    completion_request,
)
from edgellm.server.responses.requests import ResponseBody
from edgellm.server.routes.embeddings import EmbeddingsBody
from edgellm.server.routes.infill import InfillBody
from edgellm.server.routes.lora import LoadBody, UnloadBody
from edgellm.server.routes.rerank import RerankBody
from edgellm.server.routes.words import DetokenizeBody, TokenizeBody

BODIES = (
    ChatBody, CompletionBody, EmbeddingsBody, RerankBody, InfillBody, TokenizeBody, DetokenizeBody,
    LoadBody, UnloadBody, ResponseBody,
)  # fmt: skip


def chat(**fields):
    return chat_request(
        json.dumps({"messages": [{"role": "user", "content": "Hi"}]} | fields).encode(), "__mark__"
    )


def chat_written(field, written):
    """With a field's value in the client's own bytes."""
    start = b'{"messages": [{"role": "user", "content": "Hi"}], '
    return chat_request(start + b'"%s": %s}' % (field.encode(), written), "__mark__")


def completion(**fields):
    return completion_request(json.dumps({"prompt": "Hi"} | fields).encode())


def refused(call, *args, **fields):
    with pytest.raises(BadRequest) as raised:
        call(*args, **fields)
    return raised.value


def numbers(kind, path):
    """Every int and float type that a body can carry, with where it stands."""
    match kind:
        case inspect.IntType() | inspect.FloatType():
            yield path, kind
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from numbers(field.type, f"{path}.{field.encode_name}")
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            for one in types:
                yield from numbers(one, path)
        case inspect.ListType(item_type=item):
            yield from numbers(item, f"{path}[]")
        case inspect.DictType(key_type=key, value_type=value):
            yield from numbers(key, f"{path}.key")
            yield from numbers(value, f"{path}.value")
        case inspect.StrType() | inspect.BoolType() | inspect.NoneType():
            pass
        case inspect.LiteralType() | inspect.RawType():
            pass
        case _:
            raise AssertionError(f"{path}: teach this test about {kind}")


@pytest.mark.parametrize("body", BODIES)
def test_every_number_in_a_body_has_bounds(body):
    for path, kind in numbers(inspect.type_info(body), body.__name__):
        assert kind.ge is not None or kind.gt is not None, f"{path} has no lower bound"
        assert kind.le is not None or kind.lt is not None, f"{path} has no upper bound"


def test_the_walk_sees_the_numbers():
    paths = {path for path, _ in numbers(inspect.type_info(CompletionBody), "")}
    assert {".temperature", ".logit_bias.key", ".prompt[]", ".prompt[][]", ".n"} <= paths


def bounded_fields():
    for field in inspect.type_info(ChatBody).fields:
        for path, kind in numbers(field.type, field.encode_name):
            if path == field.encode_name:
                yield path, kind


@pytest.mark.parametrize(("name", "kind"), list(bounded_fields()), ids=lambda x: str(x)[:20])
def test_out_of_bounds_is_refused_by_name(name, kind):
    too_low = kind.gt if kind.ge is None else kind.ge - 1
    for value in (too_low, kind.le + 1, True, "1", [1], {"a": 1}):
        error = refused(chat, **{name: value})
        assert error.param == name
        assert str(error).startswith(f"{name}: ")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5000])
def test_numbers_that_are_none_are_refused(value):
    body = b'{"messages":[{"role":"user","content":"x"}],"temperature":%b}' % value.encode()
    refused(chat_request, body, "__mark__")


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


def test_an_assistant_message_may_be_empty():
    request = chat(messages=[{"role": "assistant", "content": None}])
    assert request.messages == (Message("assistant", ""),)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
            "messages[0].content[0]",
            "'file' is not served, only text",
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
        ({"stop": ["x"] * 17}, "stop", "16"),
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
        ({"choices": [""]}, "choices[0]", "1"),
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


def function(name="f", **more):
    return {"type": "function", "function": {"name": name, **more}}


def allowing(*names):
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}


def parameters(schema):
    return {"tools": [function(), function("g", parameters=schema)]}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "web_search"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "is missing"),
        ({"tools": [function("a b")]}, "tools[0].function.name", "'a b' is not"),
        ({"tools": [function("x" * 129)]}, "tools[0].function.name", "128 letters"),
        ({"tools": [function(), function()]}, "tools[1].function.name", "'f' is there twice"),
        ({"tools": [function(f"f{i}") for i in range(129)]}, "tools", "128"),
        (parameters([1]), "tools[1].function.parameters", "object"),
        (parameters({"type": "string"}), "tools[1].function.parameters.type", "object"),
        (parameters({"properties": [1]}), "tools[1].function.parameters.properties", "object"),
        (parameters({"required": "a"}), "tools[1].function.parameters.required", "list"),
        (parameters({"x": "y" * 70_000}), "tools[1].function.parameters", "65536"),
        (
            parameters(json.loads('{"a":' * 33 + "1" + "}" * 33)),
            "tools[1].function.parameters",
            "33 deep",
        ),
        (
            {"tools": [function(f"f{i}", parameters={"x": "y" * 60_000}) for i in range(5)]},
            "tools",
            "262144",
        ),
        ({"tools": [function()], "tool_choice": "maybe"}, "tool_choice", "maybe"),
        ({"tools": [function()], "tool_choice": {"type": "x"}}, "tool_choice.type", "x"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        (
            {"tools": [function()], "tool_choice": allowing()},
            "tool_choice.allowed_tools.tools",
            "length >= 1",
        ),
        ({"tool_choice": allowing("f")}, "tool_choice", "no tools"),
        (
            {"messages": [{"role": "user", "tool_calls": [{"function": {"name": "f"}}]}]},
            "messages[0]",
            "only an assistant",
        ),
    ],
)  # fmt: skip
def test_tools_are_refused_by_their_place(fields, param, words):
    error = refused(chat, **fields)
    assert error.param == param
    assert words in str(error)


def test_empty_tools_are_no_tools():
    asked = chat(tools=[], tool_choice="auto", grammar="")
    assert (asked.tools, asked.params.structure) == ((), None)


def test_tools_travel_with_their_schemas():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    asked = chat(
        tools=[function("f", description="x", parameters=schema), function("g")],
        tool_choice={"type": "function", "function": {"name": "g"}},
        parallel_tool_calls=False,
    )
    assert asked.tools == (Tool("f", schema, "x"), Tool("g"))
    assert asked.tool_choice == ToolChoice("required", ("g",))
    assert asked.parallel_tool_calls is False


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_some_of_the_tools_may_be_allowed(mode):
    choice = allowing("g", "f", "g")
    choice["allowed_tools"]["mode"] = mode
    asked = chat(tools=[function("f"), function("g"), function("h")], tool_choice=choice)
    assert asked.tool_choice == ToolChoice(mode, ("g", "f"))
    assert len(asked.tools) == 3


def test_a_past_call_and_its_result_are_understood():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    as_object = {"function": {"name": "g", "arguments": {"b": 2}}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call, as_object], "reasoning": "hm"},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
    ]
    assistant, result = chat(messages=messages).messages
    assert assistant.tool_calls == (
        ToolCall("c1", "f", '{"a": 1}'),
        ToolCall("call_0_1", "g", '{"b": 2}'),
    )
    assert (assistant.text, assistant.reasoning) == ("", "hm")
    assert (result.text, result.tool_call_id) == ("sunny", "c1")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"reasoning_effort": "none"}, {"enable_thinking": False, "thinking": False}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"enable_thinking": True}, {"enable_thinking": True, "thinking": True}),
        ({"enable_thinking": True, "reasoning_effort": "none"},
         {"enable_thinking": True, "thinking": True}),
        ({"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": False, "x": [1]}},
         {"enable_thinking": False, "thinking": True, "x": [1]}),
    ],
)  # fmt: skip
def test_what_is_said_of_thoughts_becomes_the_templates_variables(fields, expected):
    assert chat(**fields).template_kwargs == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"reasoning_budget": 0}, 0),
        ({"reasoning_budget_tokens": 5}, 5),
        ({"thinking_budget_tokens": -1}, None),
        ({"reasoning_budget": 3, "thinking_budget_tokens": 9}, 3),
    ],
)
def test_a_budget_of_thought_has_several_names(fields, expected):
    assert chat(**fields).reasoning_budget == expected


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


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, None), (-1, None), (0, 0), (7, 7), (2**32 - 1, 0), (2**40 + 5, 261), (-2, 0xFFFFFFFD)],
)
def test_a_seed_fits_llama_cpps_32_bits_and_is_never_its_word_for_random(given, expected):
    assert chat(seed=given).params.sampling.seed == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"temperature": 12}, "temperature: 12 is not a number from 0 to 10"),
        ({"temperature": "hot"}, 'temperature: "hot" is not a number from 0 to 10'),
        ({"repeat_penalty": 0}, "repeat_penalty: 0 is not a number above 0 to 10"),
        ({"top_k": -2}, "top_k: -2 is not a whole number from -1 to 2147483647"),
        ({"n": 10**30}, f"n: {10**30} is not a whole number from 1 to 8"),
        ({"n": 10**90}, f"n: 1{'0' * 39}… is not a whole number from 1 to 8"),
        ({"logprobs": True, "top_logprobs": 99}, "99 is not a whole number from 0 to 20"),
        ({"mirostat": 3}, "mirostat: 3 is not a whole number from 0 to 2"),
        ({"samplers": ["top_k", "nix"]}, "samplers: 'nix' is none of penalties, dry, "),
        ({"samplers": "kz"}, "samplers: 'z' is none of e, d, s, k"),
        ({"samplers": ["top_k", "top-k"]}, "samplers: 'top_k' is there twice"),
        ({"samplers": ["x"] * 17}, "samplers: expected `array` of length <= 16"),
        ({"dry_sequence_breakers": [""]}, "dry_sequence_breakers[0]: expected `str` of length"),
        ({"dry_sequence_breakers": ["a"] * 17}, "dry_sequence_breakers: expected `array`"),
        ({"logit_bias": {"5": True}}, "logit_bias: token 5 has true; a number, or false to"),
        ({"logit_bias": [["a", 1]]}, "logit_bias[0][0]: expected `int`, got `str`"),
    ],
)
def test_a_number_is_refused_with_its_value_and_its_range(fields, words):
    assert words in str(refused(chat, **fields))
    assert words in str(refused(completion, **fields)) or "top_logprobs" in fields


def test_every_sampler_has_its_numbers_in_a_request():
    given = {
        "temperature": 0.7, "dynatemp_range": 0.2, "dynatemp_exponent": 1.5, "top_k": 30,
        "top_p": 0.8, "min_p": 0.1, "typical_p": 0.9, "top_n_sigma": 1.0, "xtc_probability": 0.5,
        "xtc_threshold": 0.2, "min_keep": 3, "repeat_penalty": 1.1, "repeat_last_n": 99,
        "frequency_penalty": 0.3, "presence_penalty": 0.4, "dry_multiplier": 0.8, "dry_base": 2.0,
        "dry_allowed_length": 3, "dry_penalty_last_n": -1, "mirostat": 2, "mirostat_tau": 4.0,
        "mirostat_eta": 0.2, "adaptive_target": 0.5, "adaptive_decay": 0.8, "seed": 5,
        "ignore_eos": True,
    }  # fmt: skip
    translated = {
        "dry_sequence_breakers": ["\n"], "logit_bias": {"7": 1.5, "8": False}, "samplers": "kt",
    }  # fmt: skip
    expected = SamplingParams(
        **given, dry_sequence_breakers=("\n",), logit_bias=((7, 1.5), (8, float("-inf"))),
        samplers=("top_k", "temperature"),
    )  # fmt: skip
    assert {field.name for field in fields(SamplingParams)} == {*given, *translated}
    for asked in (chat(**given, **translated), completion(**given, **translated)):
        assert asked.params.sampling == expected


@pytest.mark.parametrize(
    ("samplers", "expected"),
    [
        (["Top-K", "nucleus", "temp", "typ", "min-p"],
         ("top_k", "top_p", "temperature", "typ_p", "min_p")),
        ("edskypmxt", SAMPLERS),
        (list(SAMPLERS), SAMPLERS),
        (["adaptive_p", "topnsigma"], ("adaptive_p", "top_n_sigma")),
        ([], ()),
    ],
)  # fmt: skip
def test_the_order_of_samplers_has_llama_servers_names_and_letters(samplers, expected):
    assert chat(samplers=samplers).params.sampling.samplers == expected


def test_biases_may_be_pairs():
    biases = chat(logit_bias=[[3, 2.5], [4, False]]).params.sampling.logit_bias
    assert biases == ((3, 2.5), (4, float("-inf")))


@pytest.mark.parametrize(
    ("given", "logprobs", "is_post"),
    [
        ({}, None, False),
        ({"n_probs": 5}, 5, False),
        ({"n_probs": 0}, None, False),
        ({"n_probs": 5, "logprobs": 2, "post_sampling_probs": True}, 2, True),
    ],
)
def test_llama_servers_word_for_logprobs_is_understood(given, logprobs, is_post):
    params = completion(**given).params
    assert (params.logprobs, params.post_sampling_probs) == (logprobs, is_post)


def test_top_k_below_zero_is_off():
    assert chat(top_k=-1).params.sampling.top_k == 0


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
    for field in ("disable_additional_properties", "whitespace_pattern", "structural_tag"):
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


def test_vllms_repetition_penalty_looks_back_on_everything():
    sampling = chat(repetition_penalty=1.5).params.sampling
    assert (sampling.repeat_penalty, sampling.repeat_last_n) == (1.5, -1)
    near = chat(repetition_penalty=1.5, repeat_last_n=8).params.sampling
    assert (near.repeat_penalty, near.repeat_last_n) == (1.5, 8)
    assert chat(repetition_penalty=1).params.sampling == SamplingParams()
    assert chat(repetition_penalty=1, repeat_penalty=1.1).params.sampling == SamplingParams(
        repeat_penalty=1.1
    )
    error = refused(chat, repetition_penalty=1.5, repeat_penalty=1.1)
    assert error.param == "repetition_penalty"


def test_a_length_of_none_is_refused_by_the_name_that_the_client_gave_it():
    error = refused(chat, max_completion_tokens=0)
    assert error.param == "max_completion_tokens"
    assert str(error).startswith("max_completion_tokens: ")


def test_one_function_by_its_name_is_one_call():
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    named = {"type": "function", "function": {"name": "f"}}
    allowed = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [named]},
    }
    assert not chat(tools=tools, tool_choice=named).parallel_tool_calls
    assert chat(tools=tools, tool_choice=allowed).parallel_tool_calls
    assert chat(tools=tools, tool_choice="required").parallel_tool_calls
