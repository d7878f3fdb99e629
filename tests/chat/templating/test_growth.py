"""Estimates are held against what Python and Jinja really make: never too low."""

from datetime import datetime

import jinja2
import pytest

from edgellm.chat.templating.allowance import Exceeded
from edgellm.chat.templating.growth import (
    by_filter,
    by_format,
    by_method,
    by_strftime,
    refuse_nested_fields,
)

TEXT = "one two\n\tthree & four\n"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("center", (50,)), ("ljust", (50, ".")), ("rjust", (3,)), ("zfill", (99,)),
        ("replace", ("e", "xyz")), ("replace", ("", "xyz")), ("replace", ("nothing", "y")),
        ("join", (["a", "bb", "c"],)), ("translate", ({101: "longer"},)), ("expandtabs", (40,)),
        ("expandtabs", ()), ("upper", ()), ("title", ()), ("strip", ()),
    ],
)  # fmt: skip
def test_a_method_makes_no_more_than_is_expected(name, arguments):
    made = getattr(TEXT, name)(*arguments)
    assert len(made) <= by_method(TEXT, name, arguments) <= 40 * max(len(made), len(TEXT))


@pytest.mark.parametrize("arguments", [(), (" ",), ("t",)])
def test_pieces_are_counted_with_what_they_take(arguments):
    assert by_method(TEXT, "split", arguments) >= 64 * (len(TEXT.split(*arguments)) - 1)


@pytest.mark.parametrize(
    ("name", "value", "arguments"),
    [
        ("center", "x", ()), ("center", "x", (200,)), ("indent", TEXT, (9,)), ("indent", TEXT, ()),
        ("indent", TEXT, ("-------->",)), ("replace", TEXT, ("e", "xyz")), ("escape", "<&>\"", ()),
        ("join", ["a", "b"], (", ",)), ("tojson", {"a": [1, "<é>"]}, ()), ("string", [1, "a"], ()),
        ("urlencode", "äöü / x", ()),
        ("upper", "straße", ()), ("trim", TEXT, ()),
        ("truncate", "x" * 300, (9,)), ("capitalize", "x", ()), ("title", TEXT, ()),
    ],
)  # fmt: skip
def test_a_filter_makes_no_more_than_is_expected(name, value, arguments):
    environment = jinja2.Environment()
    made = environment.call_filter(name, value, list(arguments), context=None)
    assert len(str(made)) <= by_filter(name, value, arguments)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("%s and %r", ("abc", [1, 2])), ("%50d", (5,)), ("%*d", (60, 5)), ("%.20f", (1.5,)),
        ("%(a)s", ({"a": "bcd"},)),
    ],
)  # fmt: skip
def test_a_text_with_fields_makes_no_more_than_is_expected(text, arguments):
    values = arguments[0] if isinstance(arguments[0], dict) else arguments
    assert len(text % values) <= by_format(text, arguments)


def test_a_date_makes_no_more_than_is_expected():
    date = datetime(2026, 11, 27)
    for how in ("%d %b %Y", "%c" * 50, "%255Y", "%200000000Y"):
        assert len(date.strftime(how)) <= by_strftime((how,))


def test_a_width_out_of_an_argument_is_refused_wherever_it_is_from():
    for nested in ("{:{}}", "{:>{w}}", "{0:>{1[w]}}", "a{b!r:{c}}"):
        with pytest.raises(Exceeded, match="width from an argument"):
            refuse_nested_fields(nested)
    for plain in ("", "{}", "{{{}}}", "{0:>40} {{:{{}}}}", "{a[b]!r:x}"):
        refuse_nested_fields(plain)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [("{} {!r}", ("abc", [1])), ("{:>40}", (1,)), ("{0}{0}{0}", ("abcd",))],
)
def test_a_text_with_braces_makes_no_more_than_is_expected(text, arguments):
    assert len(text.format(*arguments)) <= by_format(text, arguments)
