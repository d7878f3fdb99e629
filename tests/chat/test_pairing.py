import pytest

from edgellm.chat.messages import Message, ToolCall
from edgellm.chat.pairing import paired

USER = Message("user", "x")


def calling(*calls):
    """Each as `id=name`."""
    made = (ToolCall(*call.split("="), "{}") for call in calls)
    return Message("assistant", "", tool_calls=tuple(made))


def result(text, id=None, name=None):
    return Message("tool", text, name=name, tool_call_id=id)


def pairs(*messages):
    """Which tool each result answers; and the proof that one id is one call's."""
    told = paired(messages)
    assert [(m.role, m.text) for m in told] == [(m.role, m.text) for m in messages]
    calls = [call for message in told for call in message.tool_calls]
    by_id = {call.id: call.name for call in calls}
    assert len(by_id) == len(calls), "an id of its own for each"
    return {m.text: by_id.get(m.tool_call_id) for m in told if m.role == "tool"}


def test_ids_that_name_one_call_each_stay_and_results_are_given_its_name():
    told = paired((calling("c1=clock", "c2=rain"), result("a", "c2"), result("b", "c1")))
    assert [call.id for call in told[0].tool_calls] == ["c1", "c2"]
    assert [(one.tool_call_id, one.name) for one in told[1:]] == [("c2", "rain"), ("c1", "clock")]


def test_an_id_that_a_later_message_uses_again_is_another_calls():
    first = (calling("c0=clock", "c1=rain"), result("a", "c0"), result("b", "c1"), USER)
    again = (calling("c0=snow", "c1=wind"), result("c", "c1"), result("d", "c0"))
    assert pairs(*first, *again) == {"a": "clock", "b": "rain", "c": "wind", "d": "snow"}
    assert paired((*first, *again))[: len(first)] == paired(first), "the past never changes"


def test_calls_with_the_same_id_in_one_message_are_answered_in_their_order():
    talk = (calling("c=clock", "c=rain"), result("a", "c"), result("b", "c"))
    assert pairs(*talk) == {"a": "clock", "b": "rain"}


def test_an_id_of_our_own_making_is_not_one_that_the_client_uses():
    talk = (calling("c=a", "c_1=b", "c=d", "c_1=e"), result("r", "c_1"), result("s", "c_1"))
    assert pairs(*talk) == {"r": "b", "s": "e"}


@pytest.mark.parametrize("id", [None, "of nobody"])
def test_a_result_without_its_calls_id_answers_the_next_call_that_waits(id):
    calls = calling("c0=clock", "c1=rain", "c2=snow")
    assert pairs(calls, result("a", id), result("b", id)) == {"a": "clock", "b": "rain"}
    assert pairs(calls, result("a", id), result("b", "c0")) == {"a": "rain", "b": "clock"}
    assert pairs(calls, result("a", id, "snow"), result("b", id)) == {"a": "snow", "b": "clock"}


def test_two_results_of_one_call_both_say_so():
    assert pairs(calling("c0=clock"), result("a", "c0"), result("b", "c0")) == {
        "a": "clock", "b": "clock",
    }  # fmt: skip


def test_a_result_that_comes_late_is_still_its_calls():
    talk = (calling("c0=clock"), USER, Message("assistant", "wait"), result("a", "c0"))
    assert pairs(*talk) == {"a": "clock"}


def test_what_answers_nobody_stays_as_it_is():
    lost = (result("a"), result("b", "x"), USER)
    assert paired(lost) == lost
    spare = (calling("c0=clock"), result("a", "c0"), result("b"))
    assert pairs(*spare) == {"a": "clock", "b": None}


def test_a_name_that_the_client_gives_stays():
    assert paired((calling("c0=clock"), result("a", "c0", "watch")))[1].name == "watch"
