"""Who has stopped waiting, wherever its request is, and how long the loop waits."""

import math

from runner_fakes import FakeBackend, answer
from worker_runs import LIMITS, endings, greedy, serve, shown, text_of

from edgellm.chat.messages import Claim, Regex
from edgellm.runner.intake.beside import Compiled
from edgellm.runner.intake.questions import Questions
from edgellm.runner.messages import Generate, Shutdown
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.worker import Worker


def until(deadline_s, n=50):
    return greedy(n, claim=Claim(deadline_s=deadline_s))


def test_a_request_whose_deadline_has_passed_is_never_computed():
    told = serve([Generate(1, (5, 6), until(-1.0)), Generate(2, (6,), greedy(5))])
    (ending,) = endings(told, 1)
    assert (ending.http_status, ending.kind) == (504, "DeadlinePassed")
    assert "in the queue" in ending.message
    assert text_of(told, 2) == shown(answer([6], 5))
    assert told[-1].n_prompt == 1


def test_a_deadline_passes_while_a_request_is_prepared_though_nothing_else_happens():
    slow = Generate(1, "hello", greedy(4, structure=Regex("a"), claim=Claim(deadline_s=0.5)))
    also = Generate(2, "hello", greedy(4, structure=Regex("a"), claim=Claim(deadline_s=9.0)))
    arrivals = [[slow, also], [], [Compiled(slow, None)], [], [Shutdown()]]
    now_s, waits_s, forgotten, told = [0.1], [], [], []

    def take(wait_s):
        waits_s.append(wait_s)
        messages = arrivals.pop(0)
        now_s[0] += 0 if messages else wait_s
        return messages

    backend = FakeBackend(LIMITS)
    Worker(
        backend,
        Scheduler(LIMITS),
        take=take,
        tell=told.extend,
        prepare=lambda request: None,
        read_beside=lambda asked: None,
        questions=Questions(backend, load_beside=lambda asked: None),
        forget=forgotten.append,
        clock=lambda: now_s[0],
    ).run()
    assert waits_s == [math.inf, 0.4, 8.5, 8.5, math.inf]
    assert forgotten == [1, 2]
    (ending,) = endings(told, 1)
    assert (ending.http_status, ending.kind) == (504, "DeadlinePassed")
    assert "while it was prepared, 0.4 s after" in ending.message
    assert "8.9 s after" in endings(told, 2)[0].message


def test_a_deadline_that_passes_in_the_queue_ends_the_wait():
    busy = [Generate(i, (5 + i,), greedy(60)) for i in range(4)]  # as many as may run
    told = serve([*busy, Generate(9, (20,), until(0.8))])
    (ending,) = endings(told, 9)
    assert ending.kind == "DeadlinePassed"
    assert all(endings(told, i)[0].n_output == 60 for i in range(4))


def test_an_answer_ends_at_its_deadline_with_what_was_said():
    told = serve([Generate(1, (5, 6), until(1.0)), Generate(2, (6,), greedy(40))])
    (done,) = endings(told, 1)
    assert done.reason == "deadline"
    assert 0 < done.n_output < 50
    assert text_of(told, 1) == shown(answer([5, 6], done.n_output))
    assert text_of(told, 2) == shown(answer([6], 40))


def test_text_that_was_held_back_for_a_stop_string_is_told_at_the_deadline():
    want = shown(answer([5, 6], 50))
    told = serve(
        [Generate(1, (5, 6), greedy(50, stop=(f"{want[:20]}!",), claim=Claim(deadline_s=0.3)))]
    )
    (done,) = endings(told, 1)
    assert text_of(told, 1) == shown(answer([5, 6], done.n_output))
