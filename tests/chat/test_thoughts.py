import pytest
from chat.hearing import BY_NAME, heard_every_way

from edgellm.chat.thoughts import STYLES, is_ended, is_opened, style_of

CALL = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'


@pytest.mark.parametrize(
    ("source", "start"),
    [
        ("{{ '<think>\\n' }} {% if '</think>' in content %}", "<think>"),
        ("content.split('</think>')[-1]", "<think>"),
        ("[THINK]{{ thinking }}[/THINK]", "[THINK]"),
        ("<|START_THINKING|><|END_THINKING|>", "<|START_THINKING|>"),
        ("'<|channel>thought\\n' ~ thinking ~ '\\n<channel|>'", "<|channel>thought"),
        ("<|start|>assistant<|channel|>analysis<|message|>", "<|channel|>analysis<|message|>"),
        ("<seed:think>{{ x }}</seed:think>", "<seed:think>"),
        (
            "{%- set inner_token = '<|inner_prefix|>' -%}{{ '<|inner_suffix|>' }}",
            "<|inner_prefix|>",
        ),
        ("'<mm:think>' ~ thoughts ~ '</mm:think>'", "<mm:think>"),
        ("{%- set think_end_token = '</think{}>'.format(HYTK) %}", "<think:opensource>"),
        ("{% if '</thought>' in content %}", "<thought>"),
        ("after the marker [BEGIN FINAL RESPONSE].", "Here are my reasoning steps:"),
    ],
)
def test_a_template_gives_its_thoughts_away(source, start):
    assert style_of(source).start == start


@pytest.mark.parametrize("source", ["", "{{ messages }}", "<|user|>{{ x }}<|end|>"])
def test_most_models_have_no_marks_for_thoughts(source):
    assert style_of(source) is None


@pytest.mark.parametrize(
    ("prompt", "opened", "ended"),
    [
        ("<|im_start|>assistant\n<think>\n", True, False),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False, True),
        ("<|im_start|>assistant\n", False, False),
        ("<think>old</think> and then\n", False, False),
    ],
)
def test_a_prompt_may_leave_the_answer_inside_thoughts(prompt, opened, ended):
    style = style_of("</think>")
    assert (is_opened(style, prompt), is_ended(style, prompt)) == (opened, ended)


@pytest.mark.parametrize(
    "style", [style for style in STYLES if not style.sign], ids=lambda s: s.start
)
def test_thoughts_come_apart_without_the_white_space_around_them(style):
    text = f"{style.start}\nLet me\n\nthink.\n{style.end}\n\nFour. "
    heard = heard_every_way(BY_NAME["hermes"], text, style=style.end)
    assert heard == ("Four. ", "Let me\n\nthink.", [], "stop")


@pytest.mark.parametrize(
    "style", [style for style in STYLES if not style.sign], ids=lambda s: s.start
)
def test_thoughts_that_the_prompt_has_begun_come_apart(style):
    text = f"hm.\n{style.end}\nFour.{CALL}"
    heard = heard_every_way(BY_NAME["hermes"], text, style=style.end, opened=True)
    assert heard == ("Four.", "hm.", [("id1", "clock", "{}")], "tool_calls")


def test_thoughts_that_never_end_are_thoughts():
    heard = heard_every_way(
        BY_NAME["hermes"], "<think>and then ", style="</think>", reason="length"
    )
    assert heard == ("", "and then", [], "length")


def test_a_mark_of_thoughts_inside_text_is_text():
    text = "  It writes <think>x</think> first.\n"
    heard = heard_every_way(BY_NAME["hermes"], text, style="</think>")
    assert heard == (text, "", [], "stop")


def test_some_models_think_again_between_texts():
    text = "One.<|channel>thought\nhm<channel|>Two."
    heard = heard_every_way(BY_NAME["gemma-4"], text, style="<channel|>")
    assert heard == ("One.Two.", "hm", [], "stop")


def test_a_start_that_the_model_repeats_is_no_thought():
    heard = heard_every_way(BY_NAME["hermes"], "<think>\nx</think>y", style="</think>", opened=True)
    assert heard == ("y", "x", [], "stop")


def test_a_call_in_thoughts_is_a_thought_unless_these_models_call_so():
    text = f"I could {CALL} it</think>No."
    heard = heard_every_way(BY_NAME["hermes"], text, style="</think>", opened=True)
    assert heard == ("No.", f"I could {CALL} it", [], "stop")
    text = "I must.\n<tool_call>\n<function=clock>\n</function>\n</tool_call>"
    heard = heard_every_way(BY_NAME["qwen-coder"], text, style="</think>", opened=True)
    assert heard == ("", "I must.", [("id1", "clock", "{}")], "tool_calls")


def test_a_word_of_a_call_in_thoughts_ends_nothing():
    text = "Is <tool_call> needed? No.</think>Hi"
    heard = heard_every_way(BY_NAME["qwen-coder"], text, style="</think>", opened=True)
    assert heard == ("Hi", "Is <tool_call> needed? No.", [], "stop")


GRANITE = "between <response></response> </think>"
FRAMED = [
    (
        "<|end_of_msg|>",
        "<|open|>think<|sep|>hm<|close|>think<|sep|><|open|>response<|sep|>{}"
        "<|close|>response<|sep|>",
    ),
    ("<|begin|>assistant<|think|>", "<|think|>hm<|end|><|begin|>assistant<|content|>{}<|end|>"),
    (
        r"'\n<think>\n' + '</think>' '<response>\n' + content + '\n</response>\n'",
        "<think>\nhm\n</think>\n\n<response>\n{}\n</response>\n",
    ),
    (GRANITE, "<think>hm</think>\n<response>{}</response>"),
    ("[BEGIN FINAL RESPONSE]", "Here are my reasoning steps:\nhm\n[BEGIN FINAL RESPONSE]\n{}"),
    (
        "[BEGIN FINAL RESPONSE]",
        "Here are my reasoning steps: hm [BEGIN FINAL RESPONSE] {}\n[END FINAL RESPONSE]\n",
    ),
]


@pytest.mark.parametrize(("source", "answer"), FRAMED)
def test_marks_around_the_text_behind_thoughts_are_none(source, answer):
    heard = heard_every_way(BY_NAME["generic"], answer.format("Four."), style=source)
    assert heard == ("Four.", "hm", [], "stop")
    called = answer.format(f"Wait. {CALL}")
    heard = heard_every_way(BY_NAME["generic"], called, style=source)
    assert heard == ("Wait.", "hm", [("id1", "clock", "{}")], "tool_calls")


@pytest.mark.parametrize("source", [GRANITE, "[BEGIN FINAL RESPONSE]"])
def test_such_a_mark_in_the_midst_of_the_text_is_the_texts_own(source):
    begin, end = (
        ("", "[END FINAL RESPONSE]") if "BEGIN" in source else ("<response>", "</response>")
    )
    thoughts = (
        "<think>hm</think>" if begin else "Here are my reasoning steps: hm [BEGIN FINAL RESPONSE]"
    )
    text = f"Answer so:\n```\n<response>\n  <ok/>\n{end}\n```\nThat is all."
    heard = heard_every_way(BY_NAME["hermes"], f"{thoughts}{begin}{text}\n{end}\n", style=source)
    assert heard == (text, "hm", [], "stop")


def test_such_marks_elsewhere_are_text():
    text = "<response>x</response>"
    for answer in (text, f"So: {text}"):
        heard = heard_every_way(BY_NAME["generic"], answer, style=GRANITE)
        assert heard == (answer, "", [], "stop")
    heard = heard_every_way(BY_NAME["generic"], f"<think>y</think>So: {text}", style=GRANITE)
    assert heard == (f"So: {text}", "y", [], "stop")
