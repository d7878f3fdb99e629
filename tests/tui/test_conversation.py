from edgellm.tui.conversation import Answer, Conversation, Questions
from edgellm.tui.told.answers import Figures, Piece
from edgellm.tui.told.questions import Message


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


def test_the_servers_own_speed_counts():
    answer = Answer(figures=Figures(n_output=3, decode_tok_s=34.5))
    answer.add(Piece("a"), 0.12)
    answer.add(Piece("b"), 0.62)

    assert answer.summary() == "34.5 tok/s · first token after 120 ms · 3 tokens"


def test_without_it_n_tokens_are_n_minus_one_steps():
    answer = Answer(figures=Figures(n_output=11))
    answer.add(Piece(thought="a"), 1.0)
    answer.add(Piece("b"), 3.0)

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
