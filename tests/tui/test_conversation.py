import pytest

from edgellm.tui.conversation import Answer, Conversation, Questions, newer_half
from edgellm.tui.told.answers import Figures
from edgellm.tui.told.client import Message


def test_the_next_question_goes_with_what_was_said_before():
    talk = Conversation()
    talk.keep(talk.with_question("who?"), "me")

    assert talk.with_question("why?") == (
        Message("user", "who?"),
        Message("assistant", "me"),
        Message("user", "why?"),
    )


def test_a_question_without_an_answer_is_not_sent_again():
    talk = Conversation()
    talk.keep(talk.with_question("who?"), "")

    assert talk.with_question("why?") == (Message("user", "why?"),)


@pytest.mark.parametrize(("n", "n_left"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_half_of_the_questions_is_left_with_their_answers(n, n_left):
    roles = ["user", *["assistant", "user"] * (n - 1)]
    said = [Message(role, str(i)) for i, role in enumerate(roles)]
    newer = newer_half(said)

    assert [message.role for message in newer].count("user") == n_left
    assert not newer or (newer[0].role == "user" and newer[-1] is said[-1])


def test_the_servers_own_speed_counts():
    answer = Answer(figures=Figures(n_output=3, decode_tok_s=34.5))
    answer.add_text("a", 0.12)
    answer.add_text("b", 0.62)

    assert answer.summary() == "34.5 tok/s · first token after 120 ms · 3 tokens"


def test_without_it_n_tokens_are_n_minus_one_steps():
    answer = Answer(figures=Figures(n_output=11))
    answer.add_thought("a", 1.0)
    answer.add_text("b", 3.0)

    assert answer.decode_tok_s == 5.0
    assert answer.first_s == 1.0


def test_an_answer_that_says_nothing_of_itself_has_dashes():
    assert Answer().summary() == "– · first token after – · – tokens"


def test_cached_tokens_and_a_cut_are_told():
    answer = Answer(figures=Figures(n_output=1, n_cached=512), reason="length")

    assert "512 prompt tokens from the cache" in answer.summary()
    assert "cut at the length limit" in answer.summary()


def test_the_arrows_walk_through_what_was_asked_and_back_to_the_draft():
    asked = Questions()
    asked.add("one")
    asked.add("two")
    asked.add("two")

    assert asked.earlier("dra") == "two"
    assert asked.earlier("two") == "one"
    assert asked.earlier("one") is None
    assert asked.later() == "two"
    assert asked.later() == "dra"
    assert asked.later() is None
