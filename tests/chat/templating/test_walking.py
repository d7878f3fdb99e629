import pytest
from jinja2.utils import Namespace

from edgellm.chat.templating.allowance import Exceeded
from edgellm.chat.templating.walking import MAX_DEPTH, MAX_NODES, keyed, walked, written_length


@pytest.mark.parametrize(
    "value", ["", "abc", 5, None, [1, "abc"], {"a": ["b", {"c": (1, 2)}]}, {1}]
)
def test_a_value_is_no_shorter_written_out_than_it_is_counted(value):
    assert written_length(value) <= len(str(value)) + 3


def test_a_small_value_with_a_long_text_is_found_out():
    value = ["x"]
    for _ in range(99):
        value = [value, value]
    with pytest.raises(Exceeded, match="too many others"):
        written_length(value)
    with pytest.raises(Exceeded):
        written_length(["x" * 10**6] * 40)
    assert written_length([1] * (MAX_NODES - 10)) >= MAX_NODES - 10


@pytest.mark.parametrize(
    "around",
    [
        lambda one: {"a": one}.values(), lambda one: {"a": one}.items(), lambda one: (one,),
        lambda one: Namespace(a=one), lambda one: {1: {"b": one}},
    ],
)  # fmt: skip
def test_whatever_holds_values_is_walked_through(around):
    assert walked(around(["abc", 5])).length >= 3
    value = ["x"]
    for _ in range(30):
        value = [value, value]
    with pytest.raises(Exceeded, match="too many others"):
        walked(around(value))
    with pytest.raises(Exceeded, match="too many others"):
        walked(around(range(MAX_NODES)))


def test_a_value_is_walked_through_only_so_deep():
    value = ()
    for _ in range(MAX_DEPTH - 1):
        value = (value,)
    assert walked(value).n_nodes == MAX_DEPTH
    with pytest.raises(Exceeded, match="too many others"):
        walked((((value,),),))


def test_a_key_is_a_text_or_a_number_whose_hash_is_its_own():
    for key in ("a", 1, -1, 2**60 - 1, 1.5, None, True):
        assert keyed(key) is key
    for key in ((1,), [1], {}, {1}, range(3), 2**61 - 1, -(2**61)):
        with pytest.raises(Exceeded, match="for a key"):
            keyed(key)
