"""What is left of a conversation that has outgrown the context, in the order that is tried."""

import pytest

from edgellm.chat.messages import Message, ToolCall
from edgellm.server.responses.truncation import prompt_room, shortened

SYSTEM = Message("system", "s")


def talk(n_turns):
    turns = ((Message("user", f"u{n}"), Message("assistant", f"a{n}")) for n in range(n_turns))
    return (SYSTEM, *(one for turn in turns for one in turn))


def begins(n_turns):
    """With whose words each of those that are tried begins, behind the system's."""
    tried = list(shortened(talk(n_turns)))
    assert all(one[0] == SYSTEM for one in tried)
    assert all(one == (SYSTEM, *talk(n_turns)[-len(one) + 1 :]) for one in tried)
    return [int(one[1].text[1:]) for one in tried]


def test_a_quarter_is_left_out_at_a_time_and_at_last_all_but_the_last_turn():
    assert begins(1) == [0]
    assert begins(2) == [0, 1]
    assert begins(9) == [0, 2, 4, 6, 8]
    assert begins(16) == [0, 4, 8, 12, 14, 15]


@pytest.mark.parametrize("n_fit", [1, 3, 10, 40])
def test_its_beginning_stays_while_it_grows_as_long_as_it_can(n_fit):
    """So most turns find again what was computed of the one before."""
    chosen = [next(at for at in begins(n) if n - at <= n_fit) for n in range(1, 200)]
    assert chosen == sorted(chosen), "it never goes back"
    assert len(set(chosen)) <= 1 + 400 / n_fit


def test_a_calls_result_stays_with_it():
    called = Message("assistant", "", tool_calls=(ToolCall("c", "f", "{}"),))
    result = Message("tool", "r", tool_call_id="c")
    messages = (SYSTEM, Message("developer", "d"), Message("user", "u"), called, result)
    assert list(shortened(messages)) == [messages]
    more = (*messages, Message("user", "v"))
    assert list(shortened(more)) == [more, (*messages[:2], Message("user", "v"))]


@pytest.mark.parametrize("messages", [(), (SYSTEM,), (Message("assistant", "a"),)])
def test_there_may_be_nothing_to_leave_out(messages):
    assert list(shortened(messages)) == [messages]


@pytest.mark.parametrize(
    ("max_tokens", "room"), [(None, 768), (10, 1014), (5000, 768), (256, 768), (255, 769)]
)
def test_the_answer_has_a_place_beside_it(max_tokens, room):
    assert prompt_room(1024, max_tokens) == room
