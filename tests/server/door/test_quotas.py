import itertools
import random

import pytest

from edgellm.errors import QuotaExceeded
from edgellm.keys import ANYBODY, Key
from edgellm.server.door.quotas import Bucket, Quotas, Today

FRESH = Today(0, 3600.0)


def refusal(quotas, key, now_s=0.0, today=FRESH):
    with pytest.raises(QuotaExceeded) as raised:
        quotas.enter(key, now_s, today)
    return raised.value


def test_a_bucket_refills_evenly_and_never_above_its_brim():
    bucket = Bucket(60)
    bucket.take(60, 0.0)
    assert [bucket.left(now_s) for now_s in (0, 1, 30, 60, 600)] == [0, 1, 30, 60, 60]


def test_a_bucket_that_is_overdrawn_owes_and_pays_back():
    bucket = Bucket(60)
    bucket.take(180, 0.0)
    assert bucket.left(0.0) == -120
    assert bucket.seconds_until(1, 0.0) == 121
    assert bucket.left(121.0) == 1


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing():
    bucket = Bucket(60)
    bucket.take(60, 100.0)
    assert bucket.left(50.0) == 0
    assert bucket.left(51.0) == 1


def test_over_any_stretch_no_more_comes_out_than_the_bucket_and_what_flowed_but_one_answer():
    dice = random.Random(1)
    for _ in range(200):
        capacity, most = dice.randint(1, 1000), dice.randint(1, 3000)
        quotas, key, now_s, taken = Quotas(), Key("k", tokens_per_minute=capacity), 0.0, 0
        for _ in range(100):
            now_s += dice.random() * 30
            try:
                quotas.enter(key, now_s, FRESH)
            except QuotaExceeded:
                continue
            n_tokens = dice.randint(0, most)
            quotas.take(key, n_tokens, now_s)
            quotas.leave(key)
            taken += n_tokens
            assert taken <= capacity * (1 + now_s / 60) + most


def test_a_refused_key_may_go_on_when_it_was_told_and_not_before():
    quotas, key = Quotas(), Key("anna", tokens_per_minute=600)
    quotas.take(key, 1000, 0.0)
    error = refusal(quotas, key)
    assert "the key anna has used 1000 tokens of late, of 600 a minute" in str(error)
    wait_s = error.retry_after_s
    assert wait_s == pytest.approx(40.1)
    refusal(quotas, key, wait_s - 0.01)
    quotas.enter(key, wait_s + 1e-6, FRESH)


def test_the_last_token_of_a_minute_lets_a_request_in():
    quotas, key = Quotas(), Key("anna", tokens_per_minute=10)
    quotas.take(key, 9, 0.0)
    quotas.enter(key, 0.0, FRESH)
    quotas.take(key, 1, 0.0)
    refusal(quotas, key)


@pytest.mark.parametrize(("used", "is_over"), [(0, False), (99, False), (100, True), (10**9, True)])
def test_a_day_is_over_when_its_tokens_are_used(used, is_over):
    quotas, key = Quotas(), Key("anna", tokens_per_day=100)
    if not is_over:
        quotas.enter(key, 0.0, Today(used, 7200.0))
        return
    error = refusal(quotas, key, today=Today(used, 7200.0))
    assert f"has used {used} tokens today, of 100 a day" in str(error)
    assert (error.retry_after_s, error.hint) == (7200.0, "the next day begins in 2h00m")


def test_so_many_run_at_once_and_the_next_when_one_has_left():
    quotas, key = Quotas(), Key("anna", max_concurrent=2)
    quotas.enter(key, 0.0, FRESH)
    quotas.enter(key, 0.0, FRESH)
    assert "2 requests of the key anna run or wait, of 2 at once" in str(refusal(quotas, key))
    assert quotas.n_running(key) == 2  # a refused one has not come in
    quotas.leave(key)
    quotas.enter(key, 0.0, FRESH)


@pytest.mark.parametrize(
    ("minute", "day", "many"), [*itertools.product([False, True], repeat=3)][1:]
)
def test_of_several_reasons_the_longest_is_told(minute, day, many):
    quotas = Quotas()
    key = Key("anna", tokens_per_minute=10, tokens_per_day=10, max_concurrent=1)
    if many:
        quotas.enter(key, 0.0, FRESH)
    if minute:
        quotas.take(key, 20, 0.0)
    words = str(refusal(quotas, key, today=Today(10 if day else 0, 3600.0)))
    assert ("today" if day else "of late" if minute else "at once") in words


def test_who_has_no_bounds_is_always_let_in_and_one_key_never_pays_for_another():
    quotas = Quotas()
    anna, bob = Key("anna", tokens_per_minute=10), Key("bob", tokens_per_minute=10)
    quotas.take(anna, 1000, 0.0)
    quotas.enter(bob, 0.0, FRESH)
    for key in (ANYBODY, Key("free")):
        quotas.take(key, 10**9, 0.0)
        quotas.enter(key, 0.0, Today(10**12, 0.0))
        assert quotas.rate(key, 0.0) is None


def test_a_rate_says_what_is_left_and_when_all_is_there_again():
    quotas, key = Quotas(), Key("anna", tokens_per_minute=600)
    quotas.take(key, 100, 0.0)
    rate = quotas.rate(key, 0.0)
    assert (rate.limit, rate.left, rate.full_in_s) == (600, 500, 10.0)
    quotas.take(key, 1000, 0.0)
    assert quotas.rate(key, 0.0).left == 0
