"""What counts as a sign of life, minute by minute."""

from real_model import plan

from edgellm.runner.liveness import Heard, Liveness, Patience, patience_for
from edgellm.selector.plan import Range

PATIENCE = Patience(look_s=5.0, idle_s=100.0, busy_s=500.0)


def silence(n_looks, *, cpu=lambda i: 0.0, n_bytes=lambda i: 7, owes=True, loading=False, step=5.0):
    """The first verdict, and after how many seconds it came."""
    liveness = Liveness(PATIENCE, 0.0)
    for i in range(1, n_looks + 1):
        heard = Heard(n_bytes(i), owes, loading)
        if words := liveness.look(i * step, heard, cpu(i)):
            return i * step, words
    return None


def test_one_that_says_nothing_and_computes_nothing_is_hung():
    after_s, words = silence(200)
    assert 100 < after_s <= 115
    assert "said nothing and computed nothing" in words


def test_one_that_computes_a_long_step_is_believed_for_long_and_not_for_ever():
    after_s, words = silence(200, cpu=lambda i: i * 5.0)
    assert 500 < after_s <= 515
    assert "was busy and has said nothing" in words


def test_a_tick_of_the_clock_now_and_then_is_a_slow_disk_and_no_hang():
    assert silence(95, cpu=lambda i: i // 15 * 0.01) is None


def test_whoever_speaks_lives():
    assert silence(1000, n_bytes=lambda i: i // 10) is None


def test_one_that_owes_nothing_may_be_silent():
    assert silence(1000, owes=False) is None


def test_a_load_may_be_busy_for_longer():
    after_s, _ = silence(2000, cpu=lambda i: i * 5.0, loading=True)
    assert after_s > 3600


def test_while_the_machine_sleeps_or_the_gateway_is_stopped_nobody_listens():
    assert silence(9, step=10_000.0) is None


def test_what_it_has_taken_is_unknown_as_it_ends():
    assert silence(90, cpu=lambda i: None) is None


def test_a_slow_machine_is_given_ten_of_its_longest_steps():
    slow = patience_for(plan(n_batch=2048, prefill_tok_s=Range(2.0, 3.0, 4.0)))
    quick = patience_for(plan(n_batch=2048, prefill_tok_s=Range(2000.0, 3000.0, 4000.0)))
    assert slow.busy_s == 10 * 2048 / 2
    assert (quick.idle_s, quick.busy_s) == (120.0, 900.0)
