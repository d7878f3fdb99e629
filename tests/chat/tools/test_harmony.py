import pytest
from chat.hearing import BY_NAME, heard_every_way

HARMONY = [
    ("<|channel|>final<|message|>Hi there<|return|>", "Hi there", "", []),
    ("Hi, no channels", "Hi, no channels", "", []),
    (
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hi",
        "Hi", "hm", [],
    ),
    (
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>b"
        "<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        "<|start|>assistant to=functions.clock<|channel|>commentary json<|message|>{}<|call|>",
        "I look.", "a\n\nb", [("id1", "clock", "{}")],
    ),
    (
        "<|channel|>commentary<|message|>One.<|end|><|start|>assistant<|channel|>final<|message|>"
        "Two.",
        "One.\n\nTwo.", "", [],
    ),
    (
        " to=functions.clock<|channel|>commentary json<|message|>{}",
        "", "", [("id1", "clock", "{}")],
    ),
    (
        "<|channel|>commentary to=browser.search<|message|>x<|end|>",
        "<|channel|>commentary to=browser.search<|message|>x", "", [],
    ),
    (
        "<|channel|>commentary to=functions.clock<|message|>no JSON<|end|>",
        "<|channel|>commentary to=functions.clock<|message|>no JSON", "", [],
    ),
    ("<|channel|>anal", "", "", []),
    (" to=functions.clo", "", "", []),
    (" to=functions.clock<|chan", "", "", []),
    (" to=3 and wait.", " to=3 and wait.", "", []),
    (
        "Set the pin with gpio to=3 and wait.", "Set the pin with gpio to=3 and wait.", "", [],
    ),
    (
        "<|channel|>final<|message|>Done.<|end|>The rest to=be told",
        "Done.The rest to=be told", "", [],
    ),
    (
        "<|channel|>commentary<|message|>I look.<|end|> to=functions.clock<|channel|>commentary"
        "<|message|>{}<|call|>",
        "I look.", "", [("id1", "clock", "{}")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said_text", "thoughts", "calls"), HARMONY)
def test_harmonys_channels_are_text_thoughts_and_calls(text, said_text, thoughts, calls):
    reason = "tool_calls" if calls else "stop"
    heard = heard_every_way(BY_NAME["harmony"], text, style="<|channel|>")
    assert heard == (said_text, thoughts, calls, reason)


FIRST = "<|channel|>analysis<|message|>hm \n<|end|>"
MARKED = [
    (FIRST + "<|start|>assistant<|channel|>final<|message|>Hi", FIRST + "Hi"),
    (FIRST + "<|start|>assistant" + FIRST, FIRST + FIRST),
    ("<|start|>assistant" + FIRST[:-8], FIRST[:-8]),
    (
        "<|channel|>final<|message|>Hi<|end|><|start|>assistant" + FIRST
        + "<|start|>assistant<|channel|>final<|message|>you",
        "Hi" + FIRST + "\n\nyou",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MARKED)
def test_harmonys_thoughts_keep_both_their_marks_where_they_are_not_told_apart(text, expected):
    said_text, thoughts, _, _ = heard_every_way(BY_NAME["harmony"], text, style="")
    assert (said_text, thoughts) == (expected, "")
