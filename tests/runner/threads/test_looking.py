"""The thread that looks at pictures, with an eye that does what the test says."""

import os
import queue
import sys
import threading

import pytest

from edgellm.chat.messages import GenerateParams
from edgellm.chat.pictures import Pictures
from edgellm.errors import BadRequest, ContextTooLong, Overloaded
from edgellm.runner.intake.pictures import PictureRows, Placed
from edgellm.runner.messages import Generate
from edgellm.runner.threads.looking import Looker

RED, BLUE = b"red", b"blue"


def letters(text, add_special):
    """Tokens as a vocabulary of letters would have them, with a BOS of 1."""
    return [*([1] if add_special else []), *map(ord, text)]


class Eye:
    """Sees nothing until it may; what it has seen is its pieces."""

    def __init__(self):
        self.may, self.begun, self.seen = threading.Event(), threading.Event(), []
        self.nice, self.wanted = None, []

    def see(self, file, is_wanted):
        self.begun.set()
        assert self.may.wait(60)
        if sys.platform == "linux":
            self.nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        self.seen.append(file)
        self.wanted.append(is_wanted())
        if file == b"damaged":
            raise BadRequest("it is damaged")
        if file == b"strange":
            raise ZeroDivisionError("by zero")
        return ((len(file),),)


@pytest.fixture
def eye():
    return Eye()


@pytest.fixture
def told():
    return queue.SimpleQueue()


@pytest.fixture
def looker(eye, told):
    yield Looker(eye.see, letters, told.put)
    eye.may.set()


def request(request_id, *files):
    names = tuple(f"picture {i}" for i in range(len(files)))
    params = GenerateParams(pictures=Pictures("<P>", tuple(files), names))
    return Generate(request_id, "<P>" * len(files), params)


def test_pictures_are_seen_in_order_and_their_files_let_go(looker, eye, told):
    eye.may.set()
    looker.look(request(1, RED, BLUE))
    compiled = told.get(timeout=60)
    assert compiled.request.prompt == (1, 3, 4)
    assert compiled.result is None
    assert compiled.request.request_id == 1
    assert compiled.request.params.pictures == Pictures("<P>", (), ())


def test_the_text_around_them_becomes_tokens_with_one_beginning(looker, eye, told):
    eye.may.set()
    params = request(1, RED, BLUE).params
    looker.look(Generate(1, "a<P>b<P>c", params))
    compiled = told.get(timeout=60)
    assert compiled.request.prompt == (1, ord("a"), 3, ord("b"), 4, ord("c"))
    assert compiled.pictures == ()  # this eye sees no rows


def test_the_rows_of_a_picture_stand_among_the_tokens(told):
    rows = PictureRows((-5, -6), None, 0)
    Looker(lambda file, is_wanted: (rows,), letters, told.put).look(
        Generate(1, "a<P>b", request(1, RED).params)
    )
    compiled = told.get(timeout=60)
    assert compiled.request.prompt == (1, ord("a"), -5, -6, ord("b"))
    assert compiled.pictures == (Placed(2, rows),)


def test_a_text_that_can_not_be_tokens_costs_no_look(eye, told):
    def refuse(text, add_special):
        raise ContextTooLong("far too long")

    Looker(eye.see, refuse, told.put).look(request(1, RED))
    assert isinstance(told.get(timeout=60).result, ContextTooLong)
    assert not eye.begun.is_set()


def test_a_mask_comes_along(looker, eye, told):
    eye.may.set()
    mask = object()
    looker.look(request(1, RED), mask)
    assert told.get(timeout=60).result is mask


@pytest.mark.parametrize(
    ("file", "words"), [(b"damaged", "picture 1: it is damaged"), (b"strange", "by zero")]
)
def test_what_goes_wrong_is_the_requests_own(looker, eye, told, file, words):
    eye.may.set()
    looker.look(request(1, RED, file, BLUE))
    looker.look(request(2, BLUE))
    refused, other = told.get(timeout=60), told.get(timeout=60)
    assert isinstance(refused.result, BadRequest)
    assert words in str(refused.result)
    assert refused.request.request_id == 1
    assert other.request.prompt == (1, 4)


def test_who_has_left_costs_no_more_than_the_picture_being_looked_at(looker, eye, told):
    looker.look(request(1, RED, BLUE, BLUE))
    looker.look(request(2, BLUE))
    looker.look(request(3, RED))
    assert eye.begun.wait(60)
    looker.forget(1)
    looker.forget(2)
    eye.may.set()
    assert told.get(timeout=60).request.request_id == 3
    assert eye.seen == [RED, RED]
    assert eye.wanted == [False, True]


def test_what_is_wanted_no_more_is_not_told(told):
    """An encoder of several pieces asks between them, and gives nothing."""

    def see(file, is_wanted):
        if file == RED:
            looker.forget(1)
        return ((1,),) if is_wanted() else None

    looker = Looker(see, letters, told.put)
    looker.look(request(1, RED, BLUE))
    looker.look(request(2, BLUE))
    assert told.get(timeout=60).request.request_id == 2
    assert told.empty()


def test_the_files_of_who_has_left_are_let_go_at_once(looker, eye, told):
    """They are not held by what the pool has not begun."""
    file = bytes(1000)
    before = sys.getrefcount(file)
    looker.look(request(1, RED))
    assert eye.begun.wait(60)
    for request_id in (2, 3):
        looker.look(request(request_id, file, file))
    assert sys.getrefcount(file) > before
    looker.forget(2)
    looker.forget(3)
    assert sys.getrefcount(file) == before


def test_who_leaves_while_one_picture_is_looked_at_has_the_others_let_go(looker, eye, told):
    file = bytes(1000)
    before = sys.getrefcount(file)
    looker.look(request(1, RED, file))
    assert eye.begun.wait(60)
    looker.forget(1)
    assert sys.getrefcount(file) == before


def test_what_waits_is_bounded_in_bytes(looker, eye, told):
    large = bytes(100 << 20)
    for request_id in (1, 2, 3):
        looker.look(request(request_id, large))
    refused = told.get(timeout=60)
    assert refused.request.request_id == 3
    assert isinstance(refused.result, Overloaded)
    looker.forget(2)
    looker.look(request(4, large))
    assert told.empty()


def test_one_that_is_larger_than_all_that_may_wait_is_seen_alone(looker, eye, told):
    eye.may.set()
    looker.look(request(1, bytes(300 << 20)))
    assert told.get(timeout=60).request.prompt == (1, 300 << 20)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux")
def test_the_thread_yields_to_the_loops(looker, eye, told):
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    eye.may.set()
    looker.look(request(1, RED))
    told.get(timeout=60)
    assert eye.nice > mine


def test_it_computes_until_the_last_picture_is_seen_or_forgotten(looker, eye, told):
    assert not looker.computes
    looker.look(request(1, RED))
    looker.look(request(2, BLUE))
    assert eye.begun.wait(60)
    looker.forget(2)
    assert looker.computes
    eye.may.set()
    told.get(timeout=60)
    assert not looker.computes


def test_what_has_not_begun_when_the_worker_ends_never_does(looker, eye):
    for request_id in (1, 2, 3):
        looker.look(request(request_id, RED))
    assert eye.begun.wait(60)
    looker.close()
    eye.may.set()
    looker._pool.shutdown()
    assert eye.seen == [RED]
