"""The thread that compiles, with a compiler that does what the test says."""

import queue
import threading

import pytest

from edgellm.chat.messages import Claim, GenerateParams, Regex, SamplingParams
from edgellm.chat.pictures import Pictures
from edgellm.errors import BadRequest, Overloaded
from edgellm.runner.intake.beside import Compiled
from edgellm.runner.messages import Generate
from edgellm.runner.threads.compiling import LONG_CHARS, MAX_WAIT_S, Compiling, takes_time


class Compiler:
    """Makes nothing until it may; what it has made it knows."""

    def __init__(self):
        self.may, self.begun, self.made = threading.Event(), threading.Event(), []
        self.known, self.leaving = set(), set()
        self.now_s = 0.0

    def make(self, request):
        self.begun.set()
        assert self.may.wait(60)
        structure = request.params.structure
        pattern = structure.pattern if structure else request.prompt.rstrip("y")
        self.made.append(pattern)
        if pattern == "refused":
            raise BadRequest("no")
        if pattern == "strange":
            raise ZeroDivisionError("by zero")
        return request, pattern

    def make_known(self, request):
        """None of those that are made room for while somebody asks."""
        pattern = request.params.structure.pattern
        return self.make(request) if pattern in self.known - self.leaving else None

    def is_known(self, params):
        return params.structure is None or params.structure.pattern in self.known


@pytest.fixture
def compiler():
    return Compiler()


@pytest.fixture
def told():
    return queue.SimpleQueue()


@pytest.fixture
def compiling(compiler, told):
    done, clock = lambda *both: told.put(both), lambda: compiler.now_s
    yield Compiling(compiler.make, compiler.make_known, compiler.is_known, done, clock)
    compiler.may.set()


def request(request_id, pattern, key=""):
    params = GenerateParams(structure=Regex(pattern), claim=Claim(key=key))
    return Generate(request_id, "x", params)


def long_text(request_id, begins, key=""):
    return Generate(request_id, begins + "y" * LONG_CHARS, GenerateParams(claim=Claim(key=key)))


def busy(compiling, compiler):
    """It works on something, so that whoever comes now waits."""
    compiling.add(request(0, "first"))
    assert compiler.begun.wait(60)


def all_made(compiler, told, n):
    compiler.may.set()
    results = [told.get(timeout=60) for _ in range(n)]
    return compiler.made, results


def test_what_is_compiled_is_told(compiling, compiler, told):
    compiling.add(request(7, "a"))
    _, [(asked, result)] = all_made(compiler, told, 1)
    assert (asked.request_id, result) == (7, "a")


def test_a_refusal_is_told_and_so_is_what_nobody_foresaw(compiling, compiler, told):
    compiling.add(request(1, "refused"))
    compiling.add(request(2, "strange"))
    _, [(_, refused), (_, strange)] = all_made(compiler, told, 2)
    assert str(refused) == "no"
    assert isinstance(strange, BadRequest)
    assert "by zero" in str(strange)


def test_keys_take_turns(compiling, compiler, told):
    busy(compiling, compiler)
    for i, (pattern, key) in enumerate(
        [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c")]
    ):
        compiling.add(request(i + 1, pattern, key))
    made, _ = all_made(compiler, told, 6)
    assert made == ["first", "a1", "b1", "c1", "a2", "a3"]


def test_what_is_known_goes_first(compiling, compiler, told):
    busy(compiling, compiler)
    compiler.known = {"b2"}
    for i, pattern in enumerate(["a1", "a2", "b2"]):
        compiling.add(request(i + 1, pattern))
    made, _ = all_made(compiler, told, 4)
    assert made == ["first", "b2", "a1", "a2"]


def test_long_texts_take_their_turn_among_structures(compiling, compiler, told):
    busy(compiling, compiler)
    compiling.add(request(1, "a1", "a"))
    for i in range(2, 6):
        compiling.add(long_text(i, f"text {i}", "b"))
    made, _ = all_made(compiler, told, 6)
    assert made == ["first", "a1", "text 2", "text 3", "text 4", "text 5"]


def test_what_nobody_foresaw_of_a_text_is_not_blamed_on_a_structure(compiling, compiler, told):
    compiling.add(long_text(1, "strange"))
    _, [(_, refused)] = all_made(compiler, told, 1)
    assert isinstance(refused, BadRequest)
    assert "by zero" in str(refused)
    assert "structure" not in str(refused)
    assert refused.param != "structure"


def test_whose_requests_wait_long_is_told_to_come_back_and_others_are_not(
    compiling, compiler, told
):
    busy(compiling, compiler)
    for i in range(99):  # many at once are no reason
        compiling.add(request(i + 1, f"{i}", "greedy"))
    compiler.now_s = MAX_WAIT_S + 1
    compiling.add(request(100, "one more", "greedy"))
    asked, refusal = told.get(timeout=60)
    assert asked.request_id == 100
    assert isinstance(refusal, Overloaded)
    assert "99 of your requests" in str(refusal)
    compiling.add(request(101, "modest", "other"))
    made, _ = all_made(compiler, told, 101)
    assert made[2] == "modest"


@pytest.mark.parametrize(
    ("prompt", "params", "expected"),
    [
        ("x", GenerateParams(), False),
        ("x" * (LONG_CHARS + 1), GenerateParams(), True),
        ((5,) * (LONG_CHARS + 1), GenerateParams(), False),
        ("x" * (LONG_CHARS + 1), GenerateParams(pictures=Pictures("<P>", (b"",), ("a",))), False),
        ("x", GenerateParams(structure=Regex("a")), True),
        ("x", GenerateParams(SamplingParams(dry_multiplier=0.8)), True),
    ],
)
def test_what_takes_time_is_known_beforehand(prompt, params, expected):
    assert takes_time(Generate(1, prompt, params)) is expected


def test_who_has_left_is_not_compiled_for(compiling, compiler, told):
    busy(compiling, compiler)
    compiling.add(request(1, "left"))
    compiling.add(request(2, "stayed"))
    compiling.forget(1)
    compiling.forget(77)
    made, _ = all_made(compiler, told, 2)
    assert made == ["first", "stayed"]
    assert told.empty()


def test_it_computes_from_the_first_slow_request_to_the_last(compiling, compiler, told):
    compiler.known = {"known"}
    compiling.add(request(1, "known"))
    assert compiler.begun.wait(60)
    assert not compiling.computes
    compiling.add(request(2, "slow"))
    compiling.add(long_text(3, "text"))
    assert compiling.computes
    all_made(compiler, told, 3)
    compiling.add(request(4, "known"))
    told.get(timeout=60)
    assert not compiling.computes


def test_what_is_forgotten_before_its_turn_computes_nothing(compiling, compiler, told):
    compiler.known = {"first"}
    busy(compiling, compiler)
    compiling.add(request(1, "slow"))
    compiling.forget(1)
    assert not compiling.computes


def test_what_nobody_waits_for_is_run_in_between_and_may_fail(compiling, compiler, told):
    computed = []

    def fail():
        computed.append(compiling.computes)
        raise ZeroDivisionError

    compiling.run(fail)
    compiling.add(request(1, "a"))
    made, _ = all_made(compiler, told, 1)
    assert (made, computed) == (["a"], [True])


def test_what_is_known_is_made_at_once_on_the_thread_that_asks(compiling, compiler):
    compiler.may.set()
    compiler.known.add("known")
    known = request(1, "known")
    assert compiling.at_once(known) == Compiled(known, "known")
    assert compiling.at_once(request(2, "unknown")) is None
    assert compiler.made == ["known"]


def test_what_leaves_in_the_moment_of_asking_is_not_made_on_the_thread_that_asks(
    compiling, compiler, told
):
    compiler.may.set()
    compiler.known.add("leaving")
    compiler.leaving.add("leaving")
    assert compiling.at_once(request(1, "leaving")) is None
    assert compiler.made == []
    compiling.add(request(1, "leaving"))
    assert told.get(timeout=60)[1] == "leaving"


def test_what_is_refused_at_once_is_told_as_what_is_refused_later(compiling, compiler):
    compiler.may.set()
    compiler.known.update(("refused", "strange"))
    refused, strange = (compiling.at_once(request(1, word)) for word in ("refused", "strange"))
    assert isinstance(refused.result, BadRequest)
    assert "by zero" in str(strange.result)


def test_what_has_not_begun_when_the_worker_ends_never_does(compiling, compiler):
    busy(compiling, compiler)
    for request_id in (1, 2, 3):
        compiling.add(request(request_id, "later"))
    compiling.close()
    compiler.may.set()
    compiling._pool.shutdown()
    assert compiler.made == ["first"]
