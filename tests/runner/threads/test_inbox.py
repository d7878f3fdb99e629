"""What comes from anywhere is taken in its order, and a quiet hour is noticed once."""

import threading

from edgellm.runner.messages import Cancel
from edgellm.runner.threads.inbox import Inbox


def test_all_that_has_come_is_taken_at_once_and_in_order():
    inbox = Inbox()
    for i in range(3):
        inbox.put(Cancel(i))
    assert list(inbox.take(1.0)) == [Cancel(0), Cancel(1), Cancel(2)]


def test_whoever_may_not_wait_gets_nothing():
    inbox = Inbox()
    assert list(inbox.take(0.0)) == []
    assert list(inbox.take(0.001)) == []


def test_what_comes_while_the_loop_waits_wakes_it():
    inbox = Inbox()
    threading.Timer(0.01, inbox.put, [Cancel(7)]).start()
    assert list(inbox.take(float("inf"))) == [Cancel(7)]


def test_when_nobody_has_come_for_a_while_that_is_said_once():
    inbox, quiet = Inbox(quiet_s=0.001), []
    inbox.when_quiet = lambda: quiet.append(True)
    inbox.put(Cancel(1))
    inbox.take(float("inf"))
    inbox.take(0.0)
    assert not quiet
    assert list(inbox.take(float("inf"))) == []
    inbox.take(0.002)
    assert quiet == [True]
