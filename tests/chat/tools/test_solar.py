"""Solar Open: thoughts, text and calls are messages of their own."""

import pytest
from chat.hearing import BY_NAME, heard_every_way

from edgellm.chat.messages import ChatRequest, GenerateParams, JSONSchema, Message, Stages
from edgellm.chat.templating.template import ChatTemplate
from edgellm.chat.turn import turn

THOUGHT, NEXT = "<|think|>hm<|end|>", "<|begin|>assistant"
CALL = (
    "<|tool_calls|><|tool_call:begin|>a1b2c3d4e5<|tool_call:name|>clock<|tool_call:args|>{}"
    "<|tool_call:end|><|calls|>"
)
CLOCK = [("id1", "clock", "{}")]


@pytest.mark.parametrize(
    ("answer", "heard"),
    [
        ("<|content|>Hi<|end|>", ("Hi", "", [], "stop")),
        (f"{THOUGHT}{NEXT}<|content|>Hi<|end|>", ("Hi", "hm", [], "stop")),
        (f"{THOUGHT}{NEXT}{CALL}", ("", "hm", CLOCK, "tool_calls")),
        (f"<|content|>I look.<|end|>{NEXT}{CALL}", ("I look.", "", CLOCK, "tool_calls")),
    ],
)
def test_its_messages_are_told_without_their_marks(answer, heard):
    assert heard_every_way(BY_NAME["solar"], answer, style="<|begin|>assistant<|think|>") == heard


SOLARS = (  # as upstage/Solar-Open-100B's does
    "{%- for one in messages %}<|begin|>{{ one.role }}<|content|>{{ one.content }}<|end|>"
    "{%- endfor %}{#- <|begin|>assistant<|think|> <|tool_call:begin|> <|tool_call:name|> -#}"
    "<|begin|>assistant"
)


def test_all_marks_are_shown_to_whoever_hears_and_a_bound_answer_begins_with_its_own():
    asked = ChatRequest("m", (Message("user", "Hi"),), GenerateParams(structure=JSONSchema("{}")))
    asking = turn(ChatTemplate(SOLARS), asked)
    assert {"<|begin|>assistant<|content|>", "<|think|>"} < {*asking.params.markers}
    assert isinstance(asking.params.structure, Stages)
    assert "<|content|>" in asking.params.structure.stages[1].markers
