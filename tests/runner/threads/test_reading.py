"""Long texts become tokens on a thread of their own, each told once."""

import threading

import pytest
from runner_fakes import FakeBackend

from edgellm.errors import BadRequest, ContextTooLong
from edgellm.runner.kv.memory import Limits
from edgellm.runner.messages import Embed, Infill, Rerank, Tokenize
from edgellm.runner.threads.compiling import LONG_CHARS
from edgellm.runner.threads.reading import Reading, is_long_text

LIMITS = Limits(n_cells=400, n_ctx_seq=100, n_batch=32, n_seq_max=4)
HALF = "x" * (LONG_CHARS // 2 + 1)


class Watched(FakeBackend):
    """Reads when it may, and knows on which threads."""

    def __init__(self):
        super().__init__(LIMITS)
        self.may_read, self.threads = threading.Event(), []

    def tokenize(self, text, add_special, parse_special=True):
        assert self.may_read.wait(60)
        self.threads.append(threading.current_thread())
        if text == "odd":
            raise RuntimeError("llama.cpp threw")
        return super().tokenize(text, add_special, parse_special)


def read(*asked, forget=()):
    backend, told = Watched(), []
    reading = Reading(backend, told.append)
    for one in asked:
        reading.read(one)
    for request_id in forget:
        reading.forget(request_id)
    backend.may_read.set()
    reading._pool.shutdown()
    assert threading.current_thread() not in backend.threads
    assert not reading._waiting
    return told


@pytest.mark.parametrize(
    "of",
    [
        lambda text: Tokenize(1, text + text, True),
        lambda text: Infill(1, text, text),
        lambda text: Infill(1, "", "", extra=(("a.py", text), ("b.py", text))),
        lambda text: Embed(1, (text, text)),
        lambda text: Rerank(1, text, ("a", "b")),
        lambda text: Rerank(1, "q", (text, text)),
    ],
)
def test_a_request_is_long_by_all_of_its_text(of):
    assert is_long_text(of(HALF))
    assert not is_long_text(of(HALF[:1000]))


def test_tokens_that_come_as_such_are_not_long():
    assert not is_long_text(Embed(1, ((5,) * 100_000,)))


def test_each_is_told_once_in_its_order_with_its_tokens_or_its_fault():
    told = read(
        Tokenize(1, "abc", False), Embed(2, ("x" * 40,)), Embed(3, ("ab", "c")), Infill(4, "a", "b")
    )
    assert [one.request_id for one in told] == [1, 2, 3, 4]
    words, refused, inputs, middle = (one.result for one in told)
    assert len(words.tokens) == 3
    assert isinstance(refused, ContextTooLong)
    assert [len(one.tokens) for one in inputs] == [2, 1]
    assert middle.tokens[0] == 40


def test_who_has_left_is_not_read_for():
    told = read(*(Tokenize(i, "abc", False) for i in (1, 2, 3)), forget=(1, 2))
    assert [one.request_id for one in told] == [3]


def test_whatever_goes_wrong_is_told():
    (told,) = read(Tokenize(1, "odd", False))
    assert isinstance(told.result, BadRequest)
    assert "llama.cpp threw" in str(told.result)


def test_it_computes_while_a_text_waits():
    backend, told = Watched(), []
    reading = Reading(backend, told.append)
    assert not reading.computes
    reading.read(Tokenize(1, HALF, True))
    assert reading.computes
    backend.may_read.set()
    reading._pool.shutdown()
    assert not reading.computes


def test_what_has_not_begun_when_the_worker_ends_never_does():
    backend = Watched()
    reading = Reading(backend, lambda told: None)
    for request_id in range(20):
        reading.read(Tokenize(request_id, "abc", False))
    reading.close()
    backend.may_read.set()
    reading._pool.shutdown()
    assert len(backend.threads) <= 1
