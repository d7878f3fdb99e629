import pytest

from edgellm.chat.templating.allowance import (
    MAX_LENGTH,
    MAX_MADE,
    MAX_NODES,
    MAX_STEPS,
    Allowance,
    Exceeded,
    written_length,
)


def test_steps_are_counted_and_a_look_at_a_long_text_takes_more():
    allowance = Allowance()
    for _ in range(MAX_STEPS):
        allowance.step()
    with pytest.raises(Exceeded, match="500000 steps"):
        allowance.step()
    looking = Allowance()
    looking.look(4095)
    looking.look(4096 * MAX_STEPS)
    with pytest.raises(Exceeded, match="steps"):
        looking.look(4096)


def test_what_is_made_has_a_bound_alone_and_together():
    allowance = Allowance()
    with pytest.raises(Exceeded, match="`center` makes too much: 33554433 characters"):
        allowance.make(MAX_LENGTH + 1, "center")
    allowance = Allowance()
    for _ in range(MAX_MADE // MAX_LENGTH):
        allowance.make(MAX_LENGTH, "text")
    with pytest.raises(Exceeded, match="more than 134217728"):
        allowance.make(1, "text")


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
