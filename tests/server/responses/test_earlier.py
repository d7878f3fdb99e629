"""What a request says by an id alone: items, as Vercel's AI SDK gives them back, and the
conversation that it goes on with."""

import pytest

from edgellm.errors import BadRequest
from edgellm.server.openai.messages import MAX_ITEMS
from edgellm.server.openai.wire import encode
from edgellm.server.responses import object as wire
from edgellm.server.responses.earlier import conversation, recalled
from edgellm.server.responses.items import Item, Part
from edgellm.server.responses.store import Kept, Store

USER = Item(role="user", content="Hi")


def said(id, text="a"):
    return wire.Message(id, "completed", content=[wire.OutputText(text)])


def kept(store, *output, id="resp_1", given=(USER,), previous_id=None, owner=""):
    told = encode({"id": id, "output": output})
    store.keep(id, Kept(owner, previous_id, tuple(map(encode, given)), told))


def referred(*ids, store):
    items, _ = recalled([Item(id=id, type="item_reference") for id in ids], store, "")
    return items


def test_each_kind_of_item_comes_back_as_it_would_have_been_sent():
    store = Store()
    kept(
        store,
        wire.Reasoning("rs_1_0", "completed", content=[wire.ReasoningText("Hm.")]),
        said("msg_1_1"),
        wire.FunctionCall("fc_1_2", "call_1", "log", "mcp__git", arguments='{"n":1}'),
        wire.CustomCall("ctc_1_3", "call_2", "patch", input="+"),
    )
    assert referred("rs_1_0", "msg_1_1", "fc_1_2", "ctc_1_3", store=store) == [
        Item(id="rs_1_0", type="reasoning", summary=[], content=[Part("reasoning_text", "Hm.")]),
        Item(id="msg_1_1", type="message", role="assistant", content=[Part("output_text", "a")]),
        Item(
            id="fc_1_2", type="function_call", call_id="call_1", name="log", namespace="mcp__git",
            arguments='{"n":1}',
        ),
        Item(id="ctc_1_3", type="custom_tool_call", call_id="call_2", name="patch", input="+"),
    ]  # fmt: skip


def test_what_was_sent_whole_is_left_as_it_is():
    whole = [
        Item(id="msg_9", role="user", content="Hi"),
        Item(type="function_call_output", call_id="call_1", output="ok"),
    ]
    assert recalled(whole, Store(), "") == (whole, 0)


def test_a_reference_may_do_without_its_type():
    store = Store()
    kept(store, said("msg_1_0"))
    (item,), n_bytes = recalled([Item(id="msg_1_0")], store, "")
    assert (item.type, n_bytes) == ("message", len(encode(item)))


def test_no_item_comes_twice_or_a_short_body_would_be_a_long_conversation():
    store = Store()
    kept(store, said("msg_1_0"))
    with pytest.raises(BadRequest, match=r"^input\[1\]: Duplicate item found with id 'msg_1_0'$"):
        referred("msg_1_0", "msg_1_0", store=store)


@pytest.mark.parametrize("id", ["msg_1_1", "msg_2_0", "msg_1", "msg", "", "_", "rs_1_0", "resp_1"])
@pytest.mark.parametrize("kind", ["item_reference", None])
def test_what_is_not_there_is_refused_in_the_words_that_clients_know(id, kind):
    store = Store()
    kept(store, said("msg_1_0"))
    with pytest.raises(BadRequest, match=rf"^input\[1\]: Item with id '{id}' not found") as raised:
        recalled([USER, Item(id=id, type=kind)], store, "")
    assert raised.value.param == "input[1]"


def test_another_keys_items_are_not_there():
    store = Store()
    kept(store, said("msg_1_0"), owner="alice")
    with pytest.raises(BadRequest, match="not found"):
        referred("msg_1_0", store=store)


def test_a_refusal_does_not_repeat_all_of_a_long_id():
    with pytest.raises(BadRequest) as raised:
        referred("x" * 1_000_000, store=Store())
    assert len(str(raised.value)) < 200


def test_a_conversation_is_all_that_was_asked_and_said_the_first_first():
    store = Store()
    kept(store, said("msg_1_0", "A"), given=(USER,))
    more = Item(role="user", content="More")
    kept(store, said("msg_2_0", "B"), id="resp_2", given=(more,), previous_id="resp_1")
    items, n_bytes = conversation("resp_2", store, "")
    answers = [
        Item(id=f"msg_{n}_0", type="message", role="assistant", content=[Part("output_text", text)])
        for n, text in ((1, "A"), (2, "B"))
    ]
    assert items == [USER, answers[0], more, answers[1]]
    assert n_bytes > sum(map(len, map(encode, items))), "it counts as it is kept"


@pytest.mark.parametrize("id", [None, ""])
def test_no_name_is_no_conversation(id):
    assert conversation(id, Store(), "") == ([], 0)


def test_a_conversation_has_no_more_items_than_a_request_may_have():
    store, half = Store(), (USER,) * (MAX_ITEMS // 2 + 1)
    kept(store, given=half)
    kept(store, id="resp_2", given=half, previous_id="resp_1")
    assert len(conversation("resp_1", store, "")[0]) == len(half)
    with pytest.raises(BadRequest, match=f"{2 * len(half)} items by now, more than {MAX_ITEMS}"):
        conversation("resp_2", store, "")
