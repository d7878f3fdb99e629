import itertools

import pytest

from edgellm.chat import json_source
from edgellm.chat.events import TextDelta
from edgellm.chat.source import Broken, Source, overlap


def read(make, pieces):
    """What a reading tells and returns, given these pieces; None for what it breaks with."""
    source = Source()
    reading, told, returned = make(source), [], []

    def go_on():
        try:
            while (event := next(reading)) is not None:
                told.append(event.text)
        except StopIteration as stop:
            returned.append(stop.value)
        except Broken:
            returned.append(None)

    for piece in pieces:
        source.add(piece)
        if not returned:
            go_on()
    source.close()
    if not returned:
        go_on()
    return "".join(told), returned[0], source.rest()


def every_cut(text):
    for n_cuts in range(3):
        for cuts in itertools.combinations(range(1, len(text)), n_cuts):
            edges = [0, *cuts, len(text)]
            yield [text[a:b] for a, b in itertools.pairwise(edges)]
    yield list(text)


def read_every_way(make, text):
    whole = read(make, [text])
    for pieces in every_cut(text):
        assert read(make, pieces) == whole, pieces
    return whole


MARKS = ("<a>", "<ab>", "b<a", "<a>>")


@pytest.mark.parametrize(
    "text", ["x <a>y", "<ab>", "b<a>", "<a", "  ", "b<", "x<a>>", "<a<ab>", ""]
)
def test_the_first_and_longest_mark_is_found_however_the_text_is_cut(text):
    told, returned, _ = read_every_way(lambda source: source.tell_until(MARKS, TextDelta), text)
    at = min((text.find(mark) for mark in MARKS if mark in text), default=len(text))
    longest = max((m for m in MARKS if text.startswith(m, at)), key=len, default="")
    assert (told + returned[0], returned[1]) == (text[:at], longest)
    assert returned[0].strip() == ""


def test_text_is_held_back_only_while_it_may_be_a_mark():
    source = Source()
    reading = source.tell_until(("<tool>",), TextDelta)
    source.add("a < b <to")
    assert next(reading).text == "a < b"
    assert next(reading) is None
    source.add("ys>")
    assert next(reading).text == " <toys>"


@pytest.mark.parametrize("text", ["ab", "abc", "abd", "a", "xab"])
def test_the_longest_literal_is_accepted_or_none(text):
    literals = ("ab", "abc", "abcd")
    _, found, rest = read_every_way(lambda source: source.accepts(*literals), text)
    expected = next((one for one in reversed(literals) if text.startswith(one)), "")
    assert (found, rest) == (expected, text[len(expected) :])


def test_what_is_marked_can_be_gone_back_to():
    source = Source()
    source.add("abcdef")
    source.take(2)
    source.mark()
    source.take(3)
    source.add("ghi")
    source.go_back()
    assert source.rest() == "cdefghi"
    source.take(1)
    source.go_back()
    assert source.rest() == "defghi", "without a mark there is nowhere to go"


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        ('{"a": [1, "}"]} x', '{"a": [1, "}"]}', " x"),
        ('"a\\"b" x', '"a\\"b"', " x"),
        ("12, x", "12", ", x"),
        ("true}", "true", "}"),
        ("[] ", "[]", " "),
    ],
)
def test_a_json_value_ends_where_it_ends(text, value, rest):
    told, _, left = read_every_way(lambda s: json_source.tell_value(s, TextDelta), text)
    assert (told, left) == (value, rest)


@pytest.mark.parametrize("text", ['{"a": ]', '{"a"', '"abc', "nope", "NaN", "[1}", ""])
def test_what_is_no_json_breaks_and_what_was_taken_is_told(text):
    told, returned, rest = read_every_way(lambda s: json_source.tell_value(s, TextDelta), text)
    assert returned is None
    assert told + rest == text


@pytest.mark.parametrize("text", ["", "x", "<", "a<t", "<too", "<t<t", "tool>"])
def test_overlap_is_the_longest_beginning_of_a_mark_that_ends_the_text(text):
    mark = "<tool>"
    expected = max(n for n in range(len(mark)) if text.endswith(mark[:n]))
    assert overlap(text, mark) == expected
