import pytest

from edgellm.chat.messages import Message, Tool
from edgellm.chat.templating.systems import placed, with_user
from edgellm.chat.templating.template import ChatTemplate

ONE, TWO = Message("system", "S1"), Message("developer", "S2")
USER, ANSWER, RESULT = Message("user", "U"), Message("assistant", "A"), Message("tool", "R")


def said(messages, **takes):
    return [(m.role, m.text) for m in placed(messages, **{"takes_more": False, **takes})]


def test_what_the_template_takes_stays():
    talk = [ONE, TWO, USER, ANSWER, ONE, USER]
    assert placed(talk, takes_first=True, takes_more=True) == talk
    assert placed([ONE, USER], takes_first=True, takes_more=False) == [ONE, USER]


def test_where_one_is_taken_those_at_the_start_are_one():
    assert said([ONE, TWO, USER], takes_first=True) == [("system", "S1\n\nS2"), ("user", "U")]


@pytest.mark.parametrize("takes_first", [True, False])
@pytest.mark.parametrize(
    ("talk", "expected"),
    [
        ([USER, ANSWER, ONE, USER], ["user:U", "assistant:A", "user:S1\n\nU"]),
        ([USER, ANSWER, USER, ONE], ["user:U", "assistant:A", "user:U\n\nS1"]),
        ([USER, ONE, TWO, USER, ANSWER], ["user:U\n\nS1\n\nS2\n\nU", "assistant:A"]),
        ([USER, ANSWER, RESULT, ONE], ["user:U", "assistant:A", "tool:R", "user:S1"]),
        ([USER, USER, ANSWER], ["user:U", "user:U", "assistant:A"]),
    ],
)
def test_later_ones_are_the_users_words_beside_his_own(talk, expected, takes_first):
    assert [f"{role}:{text}" for role, text in said(talk, takes_first=takes_first)] == expected


def test_where_none_is_taken_the_users_message_begins_with_them():
    assert said([ONE, TWO, USER], takes_first=False) == [("user", "S1\n\nS2\n\nU")]
    assert said([ONE, ANSWER], takes_first=False) == [("user", "S1"), ("assistant", "A")]
    assert said([ONE], takes_first=False) == [("user", "S1")]


def test_where_the_user_has_said_nothing_an_empty_message_is_his():
    silent = Message("user", "")
    assert with_user([ONE, ANSWER, RESULT]) == [ONE, silent, ANSWER, RESULT]
    assert with_user([RESULT]) == [silent, RESULT]
    assert with_user([ONE, ANSWER, USER]) == [ONE, ANSWER, USER]


ASKS_FOR_ONE = (
    "{%- if not messages | selectattr('role', 'equalto', 'user') | list %}"
    "{{- raise_exception('No user query found') }}{%- endif %}"
)
TALK = "{%- for one in messages %}<{{ one.role }}>{{ one.content }}{%- endfor %}"


@pytest.mark.parametrize("tools", [(), (Tool("clock"),)])
@pytest.mark.parametrize(
    "source",
    [
        ASKS_FOR_ONE + TALK,
        "{%- if tools %}" + ASKS_FOR_ONE + "{{- tools }}{%- endif %}" + TALK,
    ],
)
def test_a_template_that_asks_for_the_users_words_takes_a_talk_without(source, tools):
    prompt = ChatTemplate(source).render([Message("system", "S1")], tools=tools)
    assert "<system>S1" in prompt
    assert prompt.endswith("<user>")


def test_all_others_are_given_none():
    assert ChatTemplate(TALK).render([Message("system", "S1")]) == "<system>S1"
