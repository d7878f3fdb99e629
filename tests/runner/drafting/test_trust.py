from edgellm.runner.drafting.trust import Trust


def asked(trust, n_tokens):
    return trust.chances([0] * n_tokens, 4)


def test_guesses_that_come_true_are_trusted_more_and_others_less():
    trust = Trust()
    (first, *_) = asked(trust, 10)
    for _ in range(20):
        trust.learn(4, 4)
    (more, *_) = asked(trust, 90)
    for _ in range(20):
        trust.learn(4, 0)
    (less, *_) = asked(trust, 110)
    assert less < first < more


def test_who_lost_rests_and_begins_with_a_fresh_mind_less_and_less_often():
    trust, at, rests = Trust(), 10, []
    fresh = asked(trust, at)
    for _ in range(4):
        for _ in range(10):
            trust.learn(4, 0)
        asked(trust, at)
        trust.refused()
        begun = at
        while not asked(trust, at):
            at += 1
        rests.append(at - begun)
        assert asked(trust, at) == fresh
    assert rests == [16, 32, 64, 128]


def test_after_many_right_guesses_a_rest_is_short_again():
    trust = Trust()
    for n_right in (0, 0, 40):
        trust.learn(40, n_right)
        for _ in range(10):
            trust.learn(4, 0)
        asked(trust, 1000)
        trust.refused()
        trust._until = 1
    asked(trust, 2000)
    assert trust._next_rest == 32


def test_who_is_refused_for_want_of_room_does_not_rest():
    trust = Trust()
    asked(trust, 10)
    trust.refused()
    assert asked(trust, 11)
