import pytest

from edgellm.runner.drafting.outcome import Outcome


def steps(outcome, n, *, n_tokens=1, seconds=1.0, guessed=False):
    for _ in range(n):
        outcome.observe(n_tokens, seconds, guessed=guessed)


def tried(outcome, n, **guessed):
    """Of `n` steps, each with guesses where they are allowed: how many had some."""
    n_guessed = 0
    for _ in range(n):
        allows = outcome.allows
        steps(outcome, 1, **(guessed if allows else {}), guessed=allows)
        n_guessed += allows
    return n_guessed


def test_guesses_that_win_go_on():
    outcome = Outcome()
    steps(outcome, 20)
    assert tried(outcome, 500, n_tokens=3, seconds=2.0) == 500


@pytest.mark.parametrize("seconds", [1.5, 3.0, 10.0])
def test_guesses_that_lose_cost_a_hundredth_in_the_long_run(seconds):
    outcome = Outcome()
    n = tried(outcome, 10_000, seconds=seconds)
    lost_s = n * (seconds - 1.0)
    assert 0.5 * 0.01 * 10_000 <= lost_s <= 2.0 + seconds + 0.01 * 10_000


def test_guesses_that_lose_only_a_little_are_few_too():
    assert tried(Outcome(), 1000, n_tokens=2, seconds=3.0) <= 3 + 0.01 * 1000


def test_a_win_that_ends_is_noticed_within_some_steps():
    outcome = Outcome()
    steps(outcome, 20)
    steps(outcome, 5000, n_tokens=3, seconds=1.2, guessed=True)
    assert tried(outcome, 100, seconds=1.5) <= 4.0 / 0.5 + 2


def test_when_they_begin_to_win_they_are_soon_found_out():
    outcome = Outcome()
    tried(outcome, 1000, seconds=1.5)
    assert tried(outcome, 300, n_tokens=4, seconds=1.5) > 200


def test_what_they_are_compared_with_is_seen_first():
    assert not Outcome().allows
    outcome = Outcome()
    steps(outcome, 4)
    assert outcome.allows


def test_what_steps_without_guesses_take_longer_for_them_is_theirs():
    outcome = Outcome()
    steps(outcome, 20)
    steps(outcome, 1, n_tokens=2, seconds=1.5, guessed=True)
    assert outcome.allows
    outcome.charge(3.0)
    assert not outcome.allows


def test_a_process_that_was_stopped_does_not_end_guessing():
    outcome = Outcome()
    steps(outcome, 20)
    steps(outcome, 1, n_tokens=2, seconds=1000.0, guessed=True)
    assert not outcome.allows
    steps(outcome, 1700)
    assert outcome.allows
