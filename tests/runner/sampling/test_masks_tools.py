"""What the grammars of tool calls write, the formats read."""

import json

import pytest
from chat.hearing import BY_NAME, TOOLS, hear
from mask_fakes import PLAIN, Alphabet

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Stages, Watch
from edgellm.runner.sampling.masks import Masks

MARKED = Alphabet(
    (
        "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "｜DSML｜",
        "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>", "<|channel|>", "<|message|>", "<|start|>", "<|constrain|>",
        "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<|START_ACTION|>",
        "<|END_ACTION|>", "<|tool_call>", "<tool_call|>", '<|"|>', "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
    )
)  # fmt: skip
MARKED_OTHERWISE = Alphabet(
    (
        "<|tool_call_start|>", "<|tool_call_end|>", "<TOOLCALL>", "</TOOLCALL>", "<|tool_call|>",
        "<|tools_prefix|>", "<|tools_suffix|>", "<|function_call|>", "<|message_sep|>",
        "<|role_sep|>", "<tool_call:opensource>", "<tool_sep:opensource>", "<arg_value:opensource>",
        "</arg_value:opensource>", "<start_function_call>", "<end_function_call>", "<escape>",
        "<|open|>", "<|close|>", "<|sep|>", "]<]minimax[>[", "<|tool_call:begin|>",
        "<|tool_call:name|>", "<|tool_call:args|>",
    )
)  # fmt: skip
ENDS = {  # of free text
    "qwen-coder": "\n</parameter>",
    "seed-oss": "</parameter>",
    "minimax": "</parameter>",
    "glm": "</arg_value>",
    "deepseek-v3.2": "</｜DSML｜parameter>",
    "deepseek-v4": "</｜DSML｜parameter>",
    "gemma-4": '<|"|>',
    "functiongemma": "<escape>",
    "kimi-k3": "<|close|>argument<|sep|>",
    "minimax-m3": "]<]minimax[>[</text>",
    "hy3": "</arg_value:opensource>",
    "minicpm-5": "</param>",
}


def test_a_json_answer_is_free_until_it_has_a_tools_name(masks):
    llama = BY_NAME["llama-3"]

    def mask():
        rules = Rules()
        calls = rules.starting(llama.rule(rules, TOOLS, False))
        watch = Watch(llama.starts, tuple(map(llama.binds, TOOLS)))
        return masks.compile(Stages((watch, calls)))

    for answer in ('{"age": 3}', '{"name": "Bob"}', "[1]"):
        assert PLAIN.allows(mask(), answer)
    assert PLAIN.allows(mask(), '{"name": "clock", "parameters": {}}')
    assert not PLAIN.allows(mask(), '{"name": "clock", "age": 3}')


@pytest.mark.parametrize(
    "alphabet", [PLAIN, MARKED, MARKED_OTHERWISE], ids=["letters", "special tokens", "others"]
)
@pytest.mark.parametrize("name", BY_NAME)
def test_whatever_a_formats_grammar_writes_is_heard_as_calls_and_nothing_else(name, alphabet):
    format, n_found = BY_NAME[name], 0
    for parallel in (False, True):
        rules = Rules()
        calls = Masks(alphabet.tokenizer, alphabet.n_vocab)
        grammar = rules.starting(format.rule(rules, TOOLS, parallel))
        for seed in range(6):
            text = alphabet.wander(calls.compile(grammar), seed, ENDS.get(name, ""))
            if text is None:
                continue  # a free text that went on and on
            n_found += 1
            said, _, heard, reason = hear(format, [text])
            assert (said, reason) == ("", "tool_calls"), text
            assert parallel or len(heard) == 1
            for _, tool, arguments in heard:
                check(tool, json.loads(arguments))
    assert n_found >= 4


def check(tool, arguments):
    """What TOOLS' schemas ask for."""
    match tool:
        case "clock":
            assert arguments == {}
        case "weather":
            assert isinstance(arguments["city"], str)
            assert isinstance(arguments.get("days", 1), int)
            assert {*arguments} <= {"city", "days"}
        case "note":
            assert isinstance(arguments["text"], str)
            assert isinstance(arguments.get("loud", True), bool)
            assert all(isinstance(tag, str) for tag in arguments.get("tags", []))
            assert arguments.get("where", {}).get("room", "hall") in ("hall", "attic")
            assert {*arguments} <= {"text", "tags", "where", "loud", "any"}
        case _:
            raise AssertionError(f"no tool is called {tool}")
