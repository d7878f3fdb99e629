"""Items that come back by their ids alone, as Vercel's AI SDK gives them back."""

import pytest

from edgellm.errors import BadRequest
from edgellm.server.responses import object as wire
from edgellm.server.responses.items import Item, Part
from edgellm.server.responses.recall import Recall, recalled


def said(id, text="a"):
    return wire.Message(id, "completed", content=[wire.OutputText(text)])


def referred(*ids, recall):
    items, _ = recalled([Item(id=id, type="item_reference") for id in ids], recall)
    return items


def test_each_kind_of_item_comes_back_as_it_would_have_been_sent():
    recall = Recall()
    recall.keep(
        [
            wire.Reasoning("rs_1", "completed", content=[wire.ReasoningText("Hm.")]),
            said("msg_1"),
            wire.FunctionCall("fc_1", "call_1", "log", "mcp__git", arguments='{"n":1}'),
            wire.CustomCall("ctc_1", "call_2", "patch", input="+"),
        ]
    )
    assert referred("rs_1", "msg_1", "fc_1", "ctc_1", recall=recall) == [
        Item(id="rs_1", type="reasoning", summary=[], content=[Part("reasoning_text", "Hm.")]),
        Item(id="msg_1", type="message", role="assistant", content=[Part("output_text", "a")]),
        Item(
            id="fc_1", type="function_call", call_id="call_1", name="log", namespace="mcp__git",
            arguments='{"n":1}',
        ),
        Item(id="ctc_1", type="custom_tool_call", call_id="call_2", name="patch", input="+"),
    ]  # fmt: skip


def test_what_was_sent_whole_is_left_as_it_is():
    whole = [
        Item(id="msg_9", role="user", content="Hi"),
        Item(type="function_call_output", call_id="call_1", output="ok"),
    ]
    assert recalled(whole, Recall()) == (whole, 0)
    assert recalled("Hi", Recall()) == ("Hi", 0)


def test_a_reference_may_do_without_its_type():
    recall = Recall()
    recall.keep([said("msg_1")])
    (item,), n_bytes = recalled([Item(id="msg_1")], recall)
    assert (item.type, n_bytes) == ("message", len(recall.find("msg_1")))


def test_no_item_comes_twice_or_a_short_body_would_be_a_long_conversation():
    recall = Recall()
    recall.keep([said("msg_1")])
    with pytest.raises(BadRequest, match=r"^input\[1\]: Duplicate item found with id 'msg_1'$"):
        referred("msg_1", "msg_1", recall=recall)


@pytest.mark.parametrize("given", [Item(id="msg_2", type="item_reference"), Item(id="msg_2")])
def test_what_is_not_there_is_refused_in_the_words_that_clients_know(given):
    with pytest.raises(BadRequest, match=r"^input\[1\]: Item with id 'msg_2' not found") as raised:
        recalled([Item(role="user", content="Hi"), given], Recall())
    assert raised.value.param == "input[1]"


def test_a_refusal_does_not_repeat_all_of_a_long_id():
    with pytest.raises(BadRequest) as raised:
        referred("x" * 1_000_000, recall=Recall())
    assert len(str(raised.value)) < 200


def test_who_was_not_referred_to_for_longest_makes_place():
    size = len(b'{"id":"msg_1","type":"message","role":"assistant","content":[]}') + 150
    recall = Recall(most_bytes=3 * size)
    for n in (1, 2, 3):
        recall.keep([said(f"msg_{n}", "a" * 100)])
    assert recall.find("msg_1") is not None
    recall.keep([said("msg_4", "a" * 100)])
    assert [recall.find(f"msg_{n}") is not None for n in (1, 2, 3, 4)] == [True, False, True, True]


def test_one_that_is_larger_than_all_the_room_takes_no_more_than_that():
    recall = Recall(most_bytes=1000)
    recall.keep([said("msg_1", "a" * 1000)])
    assert recall.find("msg_1") is None
    recall.keep([said("msg_2")])
    assert recall.find("msg_2") is not None


def test_the_same_id_counts_once():
    recall = Recall(most_bytes=1000)
    for _ in range(20):
        recall.keep([said("msg_1", "a" * 300)])
    assert recall.find("msg_1") is not None
