import json

import pytest

from edgellm.errors import BadRequest
from edgellm.tui.told.questions import Asked, Message, encoded, newer_half, thinking


@pytest.mark.parametrize(("n", "n_left"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_half_of_the_questions_is_left_with_their_answers(n, n_left):
    roles = ["user", *["assistant", "user"] * (n - 1)]
    said = [Message(role, str(i)) for i, role in enumerate(roles)]
    newer = newer_half(said)

    assert [message.role for message in newer].count("user") == n_left
    assert not newer or (newer[0].role == "user" and newer[-1] is said[-1])


def test_what_is_left_out_is_counted_until_only_the_question_is_left():
    roles = ["user", *["assistant", "user"] * 3]
    asked = Asked([Message(role, str(i)) for i, role in enumerate(roles)])

    assert asked.leave_out()
    assert asked.note == "2 earlier questions left out: the context is full"
    assert asked.leave_out()
    assert asked.n_left_out == 3
    assert not asked.leave_out()
    assert asked.messages == [Message("user", "6")]


def test_a_question_is_a_stream_with_its_figures_whatever_else_is_asked():
    asked = json.loads(encoded("m", [Message("user", "Hi")], {**thinking(False), "seed": 3}))

    assert asked == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "enable_thinking": False,
        "seed": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert thinking(None) == {}


def test_what_is_no_json_is_a_bad_request():
    with pytest.raises(BadRequest, match="JSON"):
        encoded("m", (), {"temperature": object()})
