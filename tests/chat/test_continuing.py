"""Answers that have begun: where their prompts end, and how the rest of them is heard."""

from dataclasses import replace

import pytest
from chat.hearing import CLOCK, WEATHER, said

from edgellm.chat.events import Finished, TextDelta
from edgellm.chat.messages import (
    ChatRequest,
    GenerateParams,
    JSONSchema,
    Lark,
    Message,
    Stages,
    Thinking,
    ToolCall,
    ToolChoice,
    Watch,
)
from edgellm.chat.templating.template import CHATML, ChatTemplate
from edgellm.chat.turn import turn
from edgellm.errors import BadRequest

SAY, BEGUN = Message("user", "Say"), Message("assistant", "The answer is")
ASKED = ChatRequest("m", (SAY, BEGUN), continues=True)
# As Qwen3's: a new answer has no thoughts in its prompt, the last one is shown with an empty one.
QWEN = ChatTemplate(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}"
    "<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n{% endif %}"
    "{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As DeepSeek R1's: a new answer begins with thoughts, past ones are shown without.
R1 = ChatTemplate(
    "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant><think>\n{% endif %}"
)
# As ERNIE 4.5 Thinking's: behind its thoughts an answer stands between marks.
ERNIE = ChatTemplate(
    r"{% for m in messages %}<{{ m.role }}>{{ m.content }}{# '<response>\n' </think> #}{% endfor %}"
    "{% if add_generation_prompt %}<assistant><think>{% endif %}"
)
STRICT = ChatTemplate(
    "{% if messages[-1].role != 'user' %}{{ raise_exception('user last') }}{% endif %}"
    "[INST]{{ messages[-1].content }}[/INST]"
)
HARMONY = ChatTemplate(
    "{% for m in messages %}<|start|>{{ m.role }}"
    "{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m.content }}<|return|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    "{# <|channel|>analysis<|message|> <|end|> #}"
)
HERMES = ChatTemplate(
    CHATML + "{% for t in tools or [] %}{{ t.function.name }}<tool_call>{% endfor %}"
)
LLAMA3 = ChatTemplate(
    CHATML + "{% for t in tools or [] %}{{ t.function.name }}<|python_tag|>{% endfor %}"
)


def heard_of(template, asked, text):
    ear = turn(template, asked).listen(lambda: "id1")
    return said([*ear.hear(TextDelta(text)), *ear.hear(Finished("stop", 1, 0, 1))])


def prompt(template, last, **more):
    return turn(template, replace(ASKED, messages=(SAY, last), **more)).prompt


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            ChatTemplate(None, has_im_start=True),
            "<|im_start|>user\nSay<|im_end|>\n<|im_start|>assistant\nThe answer is",
        ),
        (ChatTemplate(None), "user: Say\nassistant: The answer is"),
        (
            QWEN,
            "<|im_start|>user\nSay<|im_end|>\n<|im_start|>assistant\n"
            "<think>\n\n</think>\n\nThe answer is",
        ),
        (R1, "<user>Say<assistant><think>\n</think>\n\nThe answer is"),
        (STRICT, "[INST]Say[/INST]The answer is"),
        (
            HARMONY,
            "<|start|>user<|message|>Say<|return|>"
            "<|start|>assistant<|channel|>final<|message|>The answer is",
        ),
    ],
    ids=["chatml", "plain", "qwen", "r1", "strict", "harmony"],
)
def test_the_prompt_ends_with_what_the_answer_has_said(template, expected):
    assert prompt(template, BEGUN) == expected


def test_its_white_space_stays_whatever_the_template_trims():
    assert prompt(QWEN, Message("assistant", "\n one \n")).endswith("</think>\n\n\n one \n")


def test_words_like_the_mark_change_nothing():
    talk = (Message("user", "here-the-answer-goes-on"), BEGUN)
    assert turn(STRICT, replace(ASKED, messages=talk)).prompt.endswith("[/INST]The answer is")
    assert turn(QWEN, replace(ASKED, messages=talk)).prompt.count("here-the-answer-goes-on") == 1


@pytest.mark.parametrize("template", [QWEN, R1, HARMONY, ChatTemplate(None)])
def test_one_that_says_nothing_yet_is_as_if_it_were_not_there(template):
    asked = replace(ASKED, messages=(SAY, Message("assistant", "")))
    assert turn(template, asked).prompt == turn(template, ChatRequest("m", (SAY,))).prompt


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (QWEN, "<|im_start|>assistant\n<think>Let me"),
        (R1, "<assistant><think>\nLet me"),
        (HARMONY, "<|start|>assistant<|channel|>analysis<|message|>Let me"),
    ],
    ids=["qwen", "r1", "harmony"],
)
def test_where_only_thoughts_are_there_it_goes_on_inside_them(template, expected):
    asked = replace(ASKED, messages=(SAY, Message("assistant", "", reasoning="Let me")))
    ours = turn(template, replace(asked, params=GenerateParams(structure=JSONSchema("{}"))))
    assert ours.prompt.endswith(expected)
    first = ours.params.structure.stages[0]
    assert (type(first), first.opened) == (Thinking, True)
    ear = ours.listen(lambda: "id1")
    rest = "<|end|><|start|>assistant<|channel|>final<|message|>Ok" if template is HARMONY else ""
    told = [
        *ear.hear(TextDelta(" see." + (rest or "</think>Ok"))),
        *ear.hear(Finished("stop", 1, 0, 1)),
    ]
    assert said(told)[:2] == ("Ok", "see." if template is not HARMONY else " see.")


@pytest.mark.parametrize("none", ["<think>\n\n</think>\n\n", "</think>", ""])
def test_thoughts_go_on_where_a_new_answer_would_have_none(none):
    source = (
        "{{ messages[0].content }}{% if add_generation_prompt %}<assistant>" + none + "{% endif %}"
    )
    template = ChatTemplate(source + "{# </think> #}")
    ours = prompt(template, Message("assistant", "", reasoning="Hm"))
    assert ours.replace("\n", "") == "Say<assistant><think>Hm"


def test_thoughts_that_were_left_in_the_text_are_thoughts():
    whole = Message("assistant", "<think>\nHm</think>\n\nThe answer is")
    assert prompt(R1, whole).endswith("<think>\nHm</think>\n\nThe answer is")
    assert prompt(QWEN, whole).endswith("<think>\nHm\n</think>\n\nThe answer is")
    assert prompt(R1, Message("assistant", "<think>\nHm")).endswith("<assistant><think>\nHm")


@pytest.mark.parametrize(
    "template", [QWEN, R1, HARMONY, HERMES], ids=["qwen", "r1", "harmony", "hermes"]
)
def test_the_rest_of_a_text_is_text_with_its_first_blank(template):
    ours = turn(template, ASKED)
    assert ours.params.structure is None
    told = [TextDelta(" 42."), Finished("stop", 1, 0, 1)]
    if ours.listen:
        ear = ours.listen(lambda: "id1")
        told = [one for event in told for one in ear.hear(event)]
    assert said(told)[0] == " 42."


def test_tools_may_be_called_behind_it_but_not_as_first_words():
    asked = replace(ASKED, tools=(WEATHER, CLOCK))
    structure = turn(HERMES, asked).params.structure
    assert [type(stage) for stage in structure.stages] == [Watch, Lark]
    assert structure.stages[0] == Watch(("<tool_call>",))
    text = ' this. <tool_call>{"name": "clock", "arguments": {}}</tool_call>'
    heard = heard_of(HERMES, asked, text)
    assert heard[0] == " this."
    assert heard[2] == [("id1", "clock", "{}")]


def test_what_would_call_a_tool_as_first_words_only_is_text_behind_others():
    assert LLAMA3.format.name == "llama-3"
    begun = replace(ASKED, tools=(WEATHER, CLOCK))
    fresh = replace(begun, messages=(SAY,), continues=False)
    text = '{"name": "clock", "parameters": {}}'
    for asked, is_call in ((fresh, True), (begun, False)):
        structure = turn(LLAMA3, asked).params.structure
        assert isinstance(structure, Stages)
        assert bool(structure.stages[0].at_start) is is_call
        heard = heard_of(LLAMA3, asked, text)
        assert (heard[0], bool(heard[2])) == ("" if is_call else text, is_call)


def test_an_answer_that_stands_between_marks_goes_on_there():
    assert prompt(ERNIE, BEGUN).endswith("<assistant><think></think><response>The answer is")
    assert heard_of(ERNIE, ASKED, " four.\n</response>\n")[:2] == (" four.", "")


def test_a_mark_of_thoughts_is_text_behind_others():
    text = "<think> and it closes"
    assert heard_of(QWEN, ASKED, text)[:2] == (text, "")
    assert heard_of(QWEN, replace(ASKED, messages=(SAY,), continues=False), text)[0] == ""


@pytest.mark.parametrize("reasoning_format", ["auto", "none"])
def test_harmonys_words_for_a_recipient_are_text_inside_a_message(reasoning_format):
    asked = replace(ASKED, tools=(CLOCK,), reasoning_format=reasoning_format)
    text = " to=functions.clock as recipient"
    heard = heard_of(HARMONY, asked, f"{text}<|end|><|start|>assistant<|channel|>final<|message|>B")
    assert heard[0] == f"{text}\n\nB"


def test_thoughts_left_in_the_text_bind_nothing_of_what_comes_after_them():
    asked = replace(
        ASKED,
        messages=(SAY, Message("assistant", "<think>\nHm")),
        params=GenerateParams(structure=JSONSchema("{}")),
    )
    apart = replace(asked, messages=(SAY, Message("assistant", "", reasoning="Hm")))
    assert turn(QWEN, asked).params == turn(QWEN, apart).params


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"params": GenerateParams(structure=JSONSchema("{}"))}, "response_format"),
        (
            {"params": GenerateParams(structure=JSONSchema("{}")), "structure_field": "format"},
            "format",
        ),
        ({"tools": (CLOCK,), "tool_choice": ToolChoice("required")}, "tool_choice"),
        ({"messages": (SAY,)}, "continue_final_message"),
        (
            {"messages": (SAY, replace(BEGUN, tool_calls=(ToolCall("i", "clock", "{}"),)))},
            "messages",
        ),
    ],
)
def test_what_could_only_be_right_from_the_first_word_on_is_refused(changes, param):
    with pytest.raises(BadRequest) as caught:
        turn(HERMES, replace(ASKED, **changes))
    assert caught.value.param == param
