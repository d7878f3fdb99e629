import json

import pytest

from edgellm.chat.templating.arguments import as_object

WHOLE = '{"city": "a\\"b\\\\", "n": [1, {"deep": true}, 23], "o": {"k": null}, "t": "x"}'


def test_whole_arguments_are_what_they_say():
    assert as_object(WHOLE) == json.loads(WHOLE)
    assert as_object("") == {}


@pytest.mark.parametrize(
    ("cut", "left"),
    [
        ('{"city": "PAR', {"city": "PAR"}),
        ('{"city": "PAR\\', {"city": "PAR"}),
        ('{"city": "PAR\\\\', {"city": "PAR\\"}),
        ('{"city": "Rome", "days', {"city": "Rome"}),
        ('{"city": "Rome", "days": ', {"city": "Rome"}),
        ('{"a": [1, {"b": tr', {"a": [1, {}]}),
        ('{"a": {"b": [1, 2]}, "c": "],}', {"a": {"b": [1, 2]}, "c": "],}"}),
        ('{"a": {"b": 1}, "c', {"a": {"b": 1}}),
        ('{"city', {}),
    ],
)
def test_arguments_that_were_cut_off_are_what_they_had_said(cut, left):
    assert as_object(cut) == left


def test_wherever_they_are_cut_they_begin_as_the_whole_does():
    whole = json.loads(WHOLE)
    for end in range(len(WHOLE)):
        left = as_object(WHOLE[:end])
        assert list(left) == list(whole)[: len(left)], WHOLE[:end]
        if '"n"' in WHOLE[:end]:
            assert left["city"] == whole["city"], WHOLE[:end]


@pytest.mark.parametrize("text", ["no JSON", "[1]", '"text"', "}", "{]", "[" * 100_000, "NaN"])
def test_what_is_no_object_is_an_empty_one(text):
    assert as_object(text) == {}
