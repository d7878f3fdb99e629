from edgellm.runner.outcome import Outcome


def steps(outcome, n, *, n_tokens=1, seconds=1.0, guessed=False):
    for _ in range(n):
        outcome.observe(n_tokens, seconds, guessed=guessed)


def test_guesses_that_win_go_on():
    outcome = Outcome()
    steps(outcome, 20)
    steps(outcome, 500, n_tokens=3, seconds=2.0, guessed=True)
    assert outcome.allows


def test_guesses_that_lose_rest_longer_each_time():
    outcome, rests = Outcome(), []
    steps(outcome, 20)
    for _ in range(3):
        n_lost = 0
        while outcome.allows:
            steps(outcome, 1, n_tokens=2, seconds=3.0, guessed=True)
            n_lost += 1
        assert n_lost == 12
        n_rest = 0
        while not outcome.allows:
            steps(outcome, 1)
            n_rest += 1
        rests.append(n_rest)
    assert rests == [64, 128, 256]


def test_what_they_are_compared_with_is_seen_first():
    outcome = Outcome()
    steps(outcome, 2)
    steps(outcome, 12, n_tokens=2, seconds=3.0, guessed=True)
    assert not outcome.allows
    steps(outcome, 10)
    assert outcome.allows


def test_one_slow_step_among_many_is_no_loss():
    outcome = Outcome()
    steps(outcome, 20)
    steps(outcome, 60, n_tokens=3, seconds=1.0, guessed=True)
    steps(outcome, 1, n_tokens=3, seconds=20.0, guessed=True)
    assert outcome.allows


def test_what_steps_without_guesses_take_longer_for_them_is_theirs():
    outcome = Outcome()
    steps(outcome, 20)
    for _ in range(12):
        steps(outcome, 1, n_tokens=2, seconds=1.5, guessed=True)
        outcome.charge(1.0)
    steps(outcome, 1, n_tokens=2, seconds=1.5, guessed=True)
    assert not outcome.allows
