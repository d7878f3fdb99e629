"""What is told of a request's tokens, letter by letter."""

import pytest
from runner_fakes import FakeBackend

from edgellm.chat.events import TokenLogprob
from edgellm.chat.messages import GenerateParams
from edgellm.runner.kv.memory import Limits
from edgellm.runner.messages import Delta, Done, Generate
from edgellm.runner.scheduler import Output
from edgellm.runner.sequence import Sequence
from edgellm.runner.telling import Telling

LIMITS = Limits(n_cells=400, n_ctx_seq=100, n_batch=32, n_seq_max=4)
SILENT = 9  # its piece has no letters


class Letters(FakeBackend):
    def piece(self, token):
        return b"" if token == SILENT else bytes([token])


def told(tokens, ending="length", stop=()):
    """Of an answer of these tokens, all with a logprob."""
    deltas, _ = ended(tokens, ending, stop)
    text = "".join(each.text for each in deltas)
    return text, [one.token for each in deltas for one in each.logprobs]


def ended(tokens, ending="length", stop=()):
    out = []
    telling = Telling(Letters(LIMITS), out.extend, lambda: 1.0)
    request = Generate(1, (5,), GenerateParams(stop=stop))
    telling.open(1, telling.stream(request, 0.0))
    telling.started(1, 0.5)
    sequence = Sequence(1, [5], 50, request.params, 0.0)

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


def test_text_of_short_steps_goes_out_together_and_what_is_waited_for_at_once():
    sent = []
    telling = Telling(Letters(LIMITS), sent.append, lambda: 1.0)
    request = Generate(1, (5,), GenerateParams())
    telling.open(1, telling.stream(request, 0.0))
    telling.started(1, 0.0)
    sequence = Sequence(1, [5], 50, request.params, 0.0)

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
