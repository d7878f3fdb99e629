import pytest

from edgellm.chat.templating.allowance import (
    MAX_AT_ONCE,
    MAX_LENGTH,
    MAX_MADE,
    MAX_STEPS,
    Allowance,
    Exceeded,
)


def test_steps_are_counted_and_a_look_at_a_long_text_takes_more():
    allowance = Allowance()
    for _ in range(MAX_STEPS):
        allowance.step()
    with pytest.raises(Exceeded, match=f"{MAX_STEPS} steps"):
        allowance.step()
    looking = Allowance()
    looking.look(4095)
    for _ in range(MAX_STEPS // 1000):
        looking.look(4096 * 1000)
    with pytest.raises(Exceeded, match="steps"):
        looking.look(4096)
    walking = Allowance()
    walking.look(0, 16 * MAX_STEPS)
    with pytest.raises(Exceeded, match="steps"):
        walking.look(0, 16)


def test_one_call_looks_at_no_more_than_can_be_waited_for():
    allowance = Allowance()
    allowance.look(MAX_AT_ONCE)
    with pytest.raises(Exceeded, match="one of its steps"):
        allowance.look(MAX_AT_ONCE + 1)


def test_what_is_repeated_less_than_never_gives_nothing_back():
    allowance = Allowance()
    for _ in range(MAX_MADE // MAX_LENGTH):
        allowance.make(MAX_LENGTH, "text")
        allowance.make(-MAX_LENGTH, "*")
    with pytest.raises(Exceeded, match="more than 134217728"):
        allowance.make(1, "text")


def test_what_is_made_has_a_bound_alone_and_together():
    allowance = Allowance()
    with pytest.raises(Exceeded, match="`center` makes too much: 33554433 characters"):
        allowance.make(MAX_LENGTH + 1, "center")
    allowance = Allowance()
    for _ in range(MAX_MADE // MAX_LENGTH):
        allowance.make(MAX_LENGTH, "text")
    with pytest.raises(Exceeded, match="more than 134217728"):
        allowance.make(1, "text")
