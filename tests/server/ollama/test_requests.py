"""What Ollama's clients send, as our requests; and what is refused, by its name."""

import base64
import json
import math

import pytest
from msgspec import inspect

from edgellm.chat.messages import (
    ChatRequest,
    CompletionRequest,
    GenerateParams,
    JSONSchema,
    Message,
    SamplingParams,
    Tool,
    ToolCall,
)
from edgellm.errors import BadRequest
from edgellm.server.ollama.options import Options, context_warning
from edgellm.server.ollama.requests import read_chat, read_prompt

MARK = "__mark__"
HI = {"role": "user", "content": "Hi"}
PICTURE = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x02\x00\x00\x00\x02\x08\x02\x00\x00\x00zzzzzz"
).decode()


def chat(**more):
    return read_chat(json.dumps({"model": "tiny", "messages": [HI]} | more).encode(), MARK)


def prompt(**more):
    return read_prompt(json.dumps({"model": "tiny", "prompt": "Hi"} | more).encode(), MARK)


def test_a_chat_streams_unless_it_says_otherwise():
    assert chat().wish.streams
    assert chat(stream=None).asked.stream
    assert not chat(stream=False).asked.stream


def test_a_plain_chat_is_what_the_other_dialects_make_of_one():
    assert chat(stream=False).asked == ChatRequest(
        "tiny", (Message("user", "Hi"),), GenerateParams(is_read=False), structure_field="format"
    )


def test_options_are_the_samplers():
    options = {
        "temperature": 0, "top_k": 20, "top_p": 0.5, "min_p": 0.1, "typical_p": 0.9, "seed": 7,
        "repeat_penalty": 1.1, "repeat_last_n": -1, "presence_penalty": 0.5,
        "frequency_penalty": -0.5, "mirostat": 2, "mirostat_tau": 4, "mirostat_eta": 0.2,
        "num_predict": 12, "stop": ["\n", ""], "draft_num_predict": 0,
    }  # fmt: skip
    params = chat(options=options).asked.params
    assert params.sampling == SamplingParams(
        temperature=0, top_k=20, top_p=0.5, min_p=0.1, typical_p=0.9, seed=7, repeat_penalty=1.1,
        repeat_last_n=-1, presence_penalty=0.5, frequency_penalty=-0.5, mirostat=2, mirostat_tau=4,
        mirostat_eta=0.2,
    )  # fmt: skip
    assert (params.max_tokens, params.stop, params.n_draft_max) == (12, ("\n",), 0)


def test_how_a_model_is_loaded_changes_nothing():
    options = {
        "num_gpu": 99, "main_gpu": 1, "num_thread": 8, "num_batch": 64, "num_keep": 24,
        "use_mmap": False, "use_mlock": True, "numa": True, "low_vram": True, "f16_kv": True,
        "penalize_newline": True, "tfs_z": 1.0, "num_ctx": 2048,
    }  # fmt: skip
    assert chat(options=options).asked == chat().asked


@pytest.mark.parametrize(
    ("n", "bound"), [(0, None), (-1, None), (-2, None), (-9, None), (1, 1), (9.0, 9), (None, None)]
)
def test_num_predict_bounds_the_answer_or_says_that_nothing_does(n, bound):
    assert chat(options={"num_predict": n}).asked.params.max_tokens == bound


def test_every_option_that_is_a_number_has_bounds():
    n_numbers = 0
    for field in inspect.type_info(Options).fields:
        for kind in field.type.types:
            if isinstance(kind, inspect.IntType | inspect.FloatType):
                n_numbers += 1
                assert kind.ge is not None or kind.gt is not None, field.name
                assert kind.le is not None, field.name
    assert n_numbers == len(Options.__struct_fields__) - 1  # all but `stop`


def test_a_seed_of_minus_one_is_none():
    assert chat(options={"seed": -1}).asked.params.sampling.seed is None
    assert chat(options={"seed": 0}).asked.params.sampling.seed == 0


@pytest.mark.parametrize(
    ("n_ctx", "warns"),
    [(None, False), (-1, False), (0, False), (512, False), (513, True), (8192, True)],
)
def test_more_context_than_there_is_gets_a_warning_with_the_command(n_ctx, warns):
    warning = context_warning(Options(num_ctx=n_ctx), 512)
    assert bool(warning) is warns
    if warning:
        assert f"num_ctx {n_ctx} is more than the 512 tokens" in warning
        assert f"--ctx {n_ctx}" in warning


def test_formats():
    def of(given):
        return chat(format=given).asked.params.structure

    assert of(None) is None
    assert of("") is None
    assert of("json") == JSONSchema('{"type":"object"}')
    assert of({"type": "integer"}) == JSONSchema('{"type": "integer"}')


def test_messages_keep_thoughts_calls_and_results():
    messages = [
        {"role": "system", "content": "Be brief."},
        HI,
        {
            "role": "assistant", "content": None, "thinking": "Look.",
            "tool_calls": [
                {"function": {"name": "look", "arguments": {"at": 1}}},
                {"id": "mine", "function": {"name": "wait"}},
            ],
        },
        {"role": "tool", "content": "4", "tool_name": "look"},
        {"role": "tool", "content": "5", "tool_call_id": "mine"},
    ]  # fmt: skip
    assert chat(messages=messages).asked.messages == (
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message(
            "assistant", "", reasoning="Look.",
            tool_calls=(ToolCall("call_2_0", "look", '{"at": 1}'), ToolCall("mine", "wait", "{}")),
        ),
        Message("tool", "4", name="look"),
        Message("tool", "5", tool_call_id="mine"),
    )  # fmt: skip


def test_no_rivals_of_no_tokens_ask_for_nothing():
    assert chat(top_logprobs=0, logprobs=False).asked.params.logprobs is None


def test_a_tool_needs_no_type():
    function = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    offered = [{"function": function}, {"type": "function", "function": function | {"name": "x"}}]
    assert chat(tools=offered).asked.tools == (
        Tool("look", {"type": "object"}, "Looks."),
        Tool("x", {"type": "object"}, "Looks."),
    )


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_pictures_stand_before_their_text(prefix):
    message = {"role": "user", "content": "What?", "images": [prefix + PICTURE, PICTURE]}
    asked = chat(messages=[message]).asked
    assert asked.messages[0].text == f"{MARK}{MARK}What?"
    assert asked.params.pictures.names == ("messages[0].images[0]", "messages[0].images[1]")
    asked = prompt(images=[PICTURE]).asked
    assert asked.messages[0].text == f"{MARK}Hi"
    assert asked.params.pictures.names == ("images[0]",)


@pytest.mark.parametrize(
    ("think", "variables"),
    [
        (None, {}),
        (False, {"enable_thinking": False, "thinking": False}),
        (True, {"enable_thinking": True, "thinking": True}),
        ("high", {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}),
    ],
)
def test_thinking_is_the_templates_to_do(think, variables):
    assert chat(think=think).asked.template_kwargs == variables
    assert prompt(think=think).asked.template_kwargs == variables


def test_a_prompt_is_a_chat_of_one_turn():
    wanted = prompt(system="Be brief.", context=[1, 2])
    assert wanted.asked.messages == (Message("system", "Be brief."), Message("user", "Hi"))
    assert wanted.wish.context == (1, 2)
    assert prompt().asked.messages == (Message("user", "Hi"),)


def test_a_raw_prompt_and_one_to_fill_in_are_no_chat():
    raw = prompt(raw=True, stream=False).asked
    params = GenerateParams(is_read=False)
    assert raw == CompletionRequest("tiny", ("Hi",), params, structure_field="format")
    assert prompt(suffix="lo").asked.suffix == "lo"
    assert prompt(prompt="", suffix="lo").asked.prompts == ("",)


@pytest.mark.parametrize("messages", [None, []])
def test_without_a_text_nothing_is_asked(messages):
    assert chat(messages=messages).asked is None
    assert prompt(prompt=None).asked is None
    assert prompt(prompt="").asked is None


@pytest.mark.parametrize(
    ("keep_alive", "keep_s"),
    [(0, 0), (0.0, 0), ("0", 0), ("0s", 0), ("0h", 0), ("10s", 10), ("5m", 300), ("1h30m", 5400),
     ("1.5h", 5400), ("250ms", 0.25), (-1, math.inf), ("-1", math.inf), ("-1m", math.inf),
     (None, None), ("", None), (300, 300), ("100", 100), ("900000h", math.inf)],
)  # fmt: skip
def test_keep_alive_is_seconds_or_a_duration_and_less_than_none_is_for_ever(keep_alive, keep_s):
    wish = chat(keep_alive=keep_alive).wish
    assert (wish.keep_s, wish.unloads) == (keep_s, keep_s == 0)
    assert chat(keep_alive=keep_alive).asked.params.claim.keep_s == keep_s


@pytest.mark.parametrize("keep_alive", ["soon", "5 minutes", "5d", "m", "1h30", "."])
def test_a_keep_alive_that_is_no_time_is_refused(keep_alive):
    with pytest.raises(BadRequest, match=r"keep_alive: .* is no time"):
        chat(keep_alive=keep_alive)


@pytest.mark.parametrize(
    ("name", "model"), [("tiny", "tiny"), ("tiny:latest", "tiny"), ("a/b:Q4_0", "a/b:Q4_0")]
)
def test_latest_is_nobodys_tag(name, model):
    wanted = chat(model=name)
    assert (wanted.wish.name, wanted.asked.model) == (name, model)


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"options": {"temperature": -1}}, "options.temperature", "-1 is not a number from 0 to"),
        ({"options": {"top_k": 1.5}}, "options.top_k", "options.top_k: "),
        ({"options": {"num_predict": "9"}}, "options.num_predict", "options.num_predict: "),
        ({"options": [1]}, "options", "must be an object"),
        ({"format": "yaml"}, "format", '"json" or a JSON schema'),
        ({"format": 5}, "format", "must be an object"),
        ({"think": "hard"}, "think", "think: "),
        ({"top_logprobs": 3}, "top_logprobs", "needs logprobs"),
        ({"messages": [{"role": "wizard"}]}, "messages[0].role", "wizard"),
        ({"messages": [HI | {"tool_calls": [{"function": {"name": "x"}}]}]}, "messages[0]",
         "only an assistant"),
        ({"messages": [{"role": "assistant", "tool_calls": [
            {"function": {"name": "x", "arguments": "{}"}}]}]},
         "messages[0].tool_calls[0].function.arguments", "must be an object"),
        ({"messages": [HI | {"images": ["%%%"]}]}, "messages[0].images[0]", "base64 is damaged"),
        ({"tools": [{"function": {"name": "a b"}}]}, "tools[0].function.name", "letters"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_chat_is_named(body, param, said):
    with pytest.raises(BadRequest) as raised:
        chat(**body)
    assert said in str(raised.value)
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"raw": True, "system": "x"}, "system"),
        ({"raw": True, "context": [1]}, "context"),
        ({"suffix": "x", "images": [PICTURE]}, "images"),
        ({"context": [1], "images": [PICTURE]}, "context"),
        ({"context": [-1]}, "context[0]"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_named(body, param):
    with pytest.raises(BadRequest) as raised:
        prompt(**body)
    assert raised.value.param == param


def test_options_that_are_no_utf8_are_refused():
    with pytest.raises(BadRequest, match="UTF-8"):
        read_chat(b'{"messages":[],"options":{"\xff":1}}', MARK)


def test_what_nests_as_deep_as_can_be_passed_over_is_read_or_refused():
    """Where the end is, depends on how deep who reads stands himself."""
    said = set()
    for n in range(800, 1000):
        deep = "[" * n + "]" * n
        body = f'{{"messages": [], "options": {{"a": {deep}}}}}'.encode()
        try:
            said.add(read_chat(body, "__mark__").asked)
        except BadRequest as error:
            said.add(str(error).partition(": ")[2] or str(error))
    assert said in (
        {None, "the body is nested too deep"},
        {None, "the body is nested too deep", "is nested too deep"},
    )
