"""What is told of a request's tokens, letter by letter."""

import pytest
from runner_fakes import FakeBackend

from edgellm.chat.events import PromptRead, SoFar, Timings, TokenLogprob
from edgellm.chat.messages import GenerateParams
from edgellm.runner.kv.memory import Limits
from edgellm.runner.messages import Delta, Done, Generate, Noted
from edgellm.runner.scheduler import Output
from edgellm.runner.sequence import Sequence
from edgellm.runner.telling import Telling

LIMITS = Limits(n_cells=400, n_ctx_seq=100, n_batch=32, n_seq_max=4)
SILENT = 9  # its piece has no letters


class Letters(FakeBackend):
    def piece(self, token):
        return b"" if token == SILENT else bytes([token])


def told(tokens, ending="length", **asked):
    """Of an answer of these tokens, all with a logprob."""
    deltas, _ = ended(tokens, ending, **asked)
    text = "".join(each.text for each in deltas)
    return text, [one.token for each in deltas for one in each.logprobs]


def ended(tokens, ending="length", **asked):
    out = []
    telling = Telling(Letters(LIMITS), out.extend, lambda: 1.0)
    request = Generate(1, (5,), GenerateParams(**asked))
    telling.open(1, telling.stream(request, 0.0))
    sequence = Sequence(1, [5], 50, request.params, 0.0)
    telling.started(sequence, 0.5)

    def end():
        sequence.finish_reason = "stop"

    for i, token in enumerate(tokens):
        sequence.tokens.append(token)
        if i == len(tokens) - 1 and ending:
            sequence.finish_reason = ending
        logprob = TokenLogprob(token, b"", -0.5, ())
        telling.show(Output(sequence, token, silent=False, logprob=logprob), 0.6, end)
    telling.flush()
    *deltas, done = out
    assert isinstance(done, Done)
    assert all(isinstance(each, Delta) for each in deltas)
    return deltas, done


@pytest.mark.parametrize("tokens", [b"ab", (*b"ab", SILENT), (SILENT, *b"a", SILENT), (SILENT,)])
def test_each_tokens_logprob_is_told_whether_or_not_it_has_letters(tokens):
    text, logprobs = told(tokens)
    assert text.encode() == bytes(token for token in tokens if token != SILENT)
    assert logprobs == [*tokens]


def test_of_a_stop_string_neither_letters_nor_tokens_are_told():
    assert told(b"abXY", ending=None, stop=("XY",)) == ("ab", [*b"ab"])


def test_the_stop_string_that_ended_it_is_told():
    assert ended(b"abXY", ending=None, stop=("Q", "XY"))[1].stop_word == "XY"
    assert ended(b"abX", ending="stop", stop=("Q", "XY"))[1].stop_word is None


def test_a_line_that_is_indented_less_ends_the_answer_as_cut():
    assert told(b"a\n  b\n c", ending=None, n_indent=2) == ("a\n  b\n ", [*b"a\n  b\n "])
    for ending in (None, "stop"):
        done = ended(b"a\nb", ending, n_indent=2, stop=("c",))[1]
        assert (done.reason, done.stop_word) == ("length", None)
        done = ended(b"a\n  b", ending, n_indent=2, stop=("b",))[1]
        assert (done.reason, done.stop_word) == ("stop", "b")


def test_text_of_short_steps_goes_out_together_and_what_is_waited_for_at_once():
    sent = []
    telling = Telling(Letters(LIMITS), sent.append, lambda: 1.0)
    request = Generate(1, (5,), GenerateParams())
    telling.open(1, telling.stream(request, 0.0))
    sequence = Sequence(1, [5], 50, request.params, 0.0)
    telling.started(sequence, 0.0)

    def turn(now_s, token, step_s=0.003):
        sequence.tokens.append(token)
        telling.show(Output(sequence, token, silent=False), now_s, lambda: None)
        telling.flush_if_due(now_s, step_s)

    for i, token in enumerate(b"abcdefg"):
        turn(1 + 0.003 * i, token)
    turn(1.021, ord("h"), step_s=0.02)  # the next one may be late
    sequence.finish_reason = "length"
    turn(1.022, ord("i"))
    told = [[m.text if isinstance(m, Delta) else "end" for m in each] for each in sent]
    assert told == [["a"], ["b", "c"], ["d", "e"], ["f", "g"], ["h"], ["i", "end"]]


class Reader:
    """One prompt of 100 tokens, 20 of which were there."""

    def __init__(self, **asked):
        self.out = []
        params = GenerateParams(**asked)
        self.telling = Telling(Letters(LIMITS), self.out.extend, lambda: 3.0)
        self.sequence = Sequence(1, [5] * 100, 200, params, 0.0, n_cached=20)
        self.telling.open(1, self.telling.stream(Generate(1, (5,), params), 0.5))
        self.telling.started(self.sequence, 1.0)

    def step(self, n_computed, now_s):
        self.sequence.n_computed = n_computed
        self.telling.read_on([self.sequence], now_s)

    def token(self, letter, now_s, reason=None):
        self.sequence.tokens.append(letter)
        self.sequence.n_computed = len(self.sequence.tokens) - 1
        self.sequence.finish_reason = reason
        output = Output(self.sequence, letter, silent=False)
        self.telling.show(output, now_s, lambda: None)
        self.telling.read_on([self.sequence], now_s)

    def told(self):
        self.telling.flush()
        return [one.note if isinstance(one, Noted) else one for one in self.out]


def read(reader):
    reader.step(10, 1.05)  # of those that were there, some still come back
    reader.step(40, 1.2)
    reader.step(50, 1.25)  # too soon after the last word
    reader.step(70, 1.3)
    reader.token(ord("a"), 1.4)
    reader.token(ord("b"), 1.6)
    reader.token(ord("c"), 2.0, "length")
    return reader.told()


def test_how_far_a_prompt_is_is_told_to_who_asked_for_it_first_and_last_and_now_and_then():
    told = read(Reader(tells_progress=True))
    notes = [one for one in told if isinstance(one, PromptRead)]
    assert [one.n_read for one in notes] == [20, 40, 70, 100]
    assert [one.elapsed_s for one in notes] == pytest.approx([0.0, 0.2, 0.3, 0.4])
    assert {(one.n_prompt, one.n_cached) for one in notes} == {(100, 20)}
    assert [type(one) for one in told[4:]] == [Delta, Delta, Delta, Done]


def test_the_timings_so_far_come_before_each_text_to_who_asked_for_them():
    told = read(Reader(tells_timings=True))
    assert [type(one) for one in told] == [*[SoFar, Delta] * 3, Done]
    notes, done = told[:-1:2], told[-1]
    assert [one.n_output for one in notes] == [1, 2, 3]
    assert [one.timings.decode_s for one in notes] == pytest.approx([0.0, 0.2, 0.6])
    assert notes[0].timings == Timings(0.5, pytest.approx(0.4), 0.0)
    assert (notes[-1].n_prompt, notes[-1].n_cached) == (done.n_prompt, done.n_cached) == (100, 20)


def test_who_asks_for_neither_hears_of_neither():
    assert [type(one) for one in read(Reader())] == [Delta, Delta, Delta, Done]
