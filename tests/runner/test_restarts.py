import pytest

from edgellm.runner.restarts import Restarts, again


def lives(*answered, was_ready=True):
    restarts = Restarts()
    return [restarts.wait_s(was_ready=was_ready, has_answered=each) for each in answered]


def test_a_worker_that_answered_comes_back_at_once_however_often_it_dies():
    assert lives(*[True] * 20) == [0.0] * 20


def test_one_that_dies_without_an_answer_comes_back_more_and_more_slowly():
    assert lives(*[False] * 8) == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_an_answer_makes_up_for_the_deaths_before_it():
    assert lives(False, False, True, False) == [0.0, 1.0, 0.0, 0.0]


def test_one_that_cannot_load_any_more_is_given_up():
    assert lives(*[False] * 5, was_ready=False) == [0.5, 1.0, 2.0, 4.0, None]


@pytest.mark.parametrize(
    ("wait_s", "words"),
    [
        (0.0, "it is started again"),
        (0.5, "it is started again in 0.5 s"),
        (None, "it is not started again"),
    ],
)
def test_what_becomes_of_it_is_said(wait_s, words):
    assert again(wait_s) == words
