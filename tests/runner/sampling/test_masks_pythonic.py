"""What a grammar of calls in Python's words lets a model write."""

import pytest
from mask_fakes import PLAIN

from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Tool
from edgellm.chat.tools import lfm2

STRING = {"type": "string"}
WRITTEN = [
    (STRING, ["'a'", '"a"', r'"\n"', r"'it\'s'"], ["a", "1"]),
    ({**STRING, "maxLength": 1}, ['"a"'], ["'a'", '"ab"']),
    ({"enum": ["a", "it's", 1]}, ["'a'", '"a"', "1", '"it\'s"'], ["'b'", "'it's'", "2"]),
    ({"type": "boolean"}, ["true", "True", "False"], ["1", '"true"']),
    ({"type": "integer"}, ["12"], ["1.5", "'1'"]),
    ({"type": "array", "items": STRING}, ['["a", "b"]', "[]"], ["[1]"]),
]


@pytest.mark.parametrize(("schema", "good", "bad"), WRITTEN)
def test_a_grammar_takes_both_languages_words_where_these_models_know_both(
    masks, schema, good, bad
):
    tool = Tool("note", {"type": "object", "properties": {"a": schema}, "required": ["a"]})

    def takes(value):
        rules = Rules()
        mask = masks.compile(rules.starting(lfm2.rule(rules, [tool], False)))
        return PLAIN.allows(mask, f"<|tool_call_start|>[note(a={value})]<|tool_call_end|>")

    assert [takes(value) for value in good] == [True] * len(good)
    assert [takes(value) for value in bad] == [False] * len(bad)
