"""Calls in tags that aren't whole: cut off, or without one of their ends."""

import json

import pytest
from chat.hearing import BY_NAME, hear, heard_every_way

DSML = "｜DSML｜"
CALLS = {  # two parameters, `{0}` and `{1}`, as the format writes them
    "qwen-coder": (
        "<tool_call>\n<function=weather>\n{0}\n{1}\n</function>\n</tool_call>",
        "<parameter={0}>\n{1}\n</parameter>",
    ),
    "glm": (
        "<tool_call>weather\n{0}\n{1}\n</tool_call>",
        "<arg_key>{0}</arg_key>\n<arg_value>{1}</arg_value>",
    ),
    "minimax": (
        '<minimax:tool_call>\n<invoke name="weather">\n{0}\n{1}\n</invoke>\n</minimax:tool_call>',
        '<parameter name="{0}">{1}</parameter>',
    ),
    "seed-oss": (
        "<seed:tool_call>\n<function=weather>\n{0}\n{1}\n</function>\n</seed:tool_call>",
        "<parameter={0}>{1}</parameter>",
    ),
    "deepseek-v3.2": (
        f'<{DSML}function_calls>\n<{DSML}invoke name="weather">\n{{0}}\n{{1}}\n</{DSML}invoke>\n'
        f"</{DSML}function_calls>",
        f'<{DSML}parameter name="{{0}}" string="{{2}}">{{1}}</{DSML}parameter>',
    ),
}
ORDERS = [(("city", "Oslo"), ("days", 5)), (("days", 5), ("city", "Oslo"))]


def written(name, values):
    """The call, and where in it each value has ended."""
    call, parameter = CALLS[name]
    parts = [
        parameter.format(key, value, "true" if isinstance(value, str) else "false")
        for key, value in values
    ]
    text = call.format(*parts)
    return text, [text.index(part) + len(part) for part in parts]


@pytest.mark.parametrize("values", ORDERS)
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_cut_off_in_its_closing_tags_has_its_values_and_no_tags(name, values):
    text, ends = written(name, values)
    whole = json.dumps(dict(values))
    for cut in range(ends[0], len(text) + 1):
        for pieces in ([text[:cut]], text[:cut]):
            ((_, _, arguments),) = hear(BY_NAME[name], pieces)[2]
            there = dict(values[: sum(end <= cut for end in ends)])
            assert arguments.startswith(json.dumps(there)[:-1]), text[:cut]
            if cut >= ends[1]:  # before that, of the second value's end some may be in it
                assert whole.startswith(arguments), text[:cut]


FORGOTTEN = [
    ("qwen-coder", "\n</function>"),
    ("qwen-coder", "\n</function>\n</tool_call>"),
    ("glm", "\n</tool_call>"),
    ("minimax", "\n</invoke>"),
    ("minimax", "\n</invoke>\n</minimax:tool_call>"),
    ("seed-oss", "\n</function>"),
    ("seed-oss", "\n</function>\n</seed:tool_call>"),
    ("deepseek-v3.2", f"\n</{DSML}invoke>"),
    ("deepseek-v3.2", f"\n</{DSML}invoke>\n</{DSML}function_calls>"),
]


@pytest.mark.parametrize("values", ORDERS)
@pytest.mark.parametrize(("name", "end"), FORGOTTEN)
def test_a_call_without_its_end_takes_no_other_call_into_its_value(name, end, values):
    text, _ = written(name, values)
    assert end in text
    calls = heard_every_way(BY_NAME[name], f"{text.replace(end, '')}\n{text}")[2]
    whole = json.dumps(dict(values))
    assert [arguments for _, _, arguments in calls] == [whole[:-1], whole]


@pytest.mark.parametrize("name", ["qwen-coder", "minimax"])
def test_a_second_call_in_the_block_is_not_in_the_firsts_value(name):
    text, ends = written(name, ORDERS[0])
    first = text[: ends[1]]
    second = text[text.index("\n") :]  # without the block's begin
    calls = heard_every_way(BY_NAME[name], first + second)[2]
    assert calls[0][2] == json.dumps(dict(ORDERS[0]))[:-1]
