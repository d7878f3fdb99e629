"""Words to tokens and back, and adapters that come and go under running answers."""

import pytest
from runner_fakes import VOCABULARY, FakeBackend

from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadGGUF, BadRequest
from edgellm.runner.intake.beside import AdapterLoaded
from edgellm.runner.intake.questions import Questions, words_of
from edgellm.runner.kv.memory import Limits
from edgellm.runner.messages import (
    Detokenize,
    Infill,
    LoadAdapter,
    Obeyed,
    Tokenize,
    Tokenized,
    UnloadAdapter,
)
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

LIMITS = Limits(n_cells=400, n_ctx_seq=100, n_batch=32, n_seq_max=4, n_ids=8, shares_prefixes=True)


def questions(adapters=()):
    backend = FakeBackend(LIMITS)
    for adapter_id in adapters:
        backend.load_adapter(adapter_id, b"x")
    return Questions(backend, adapters, load_beside=lambda asked: None), backend


def load(asked, backend, one):
    """As the thread beside the loop's does, once it comes to it."""
    backend.load_adapter(one.adapter_id, one.path)
    return asked.answers(AdapterLoaded(one))


def test_tokens_come_with_their_letters():
    asked, backend = questions()
    told = words_of(backend, Tokenize(1, "ab", False, with_pieces=True))
    assert len(told.tokens) == 2
    assert words_of(backend, Tokenize(3, "ab", False)) == Tokenized(3, told.tokens)
    assert told.pieces == tuple(f"{token} ".encode() for token in told.tokens)
    assert asked.answers(Detokenize(2, told.tokens))[0].pieces == told.pieces


@pytest.mark.parametrize("token", [-1, VOCABULARY])
def test_a_token_that_is_none_is_refused_with_the_vocabularys_size(token):
    asked, _ = questions()
    with pytest.raises(BadRequest, match=f"token {token} .* {VOCABULARY} tokens") as caught:
        asked.answers(Detokenize(1, (3, token)))
    assert caught.value.param == "tokens"


def test_the_middle_is_asked_for_in_tokens():
    _, backend = questions()
    told = words_of(backend, Infill(1, "a", "b"))
    assert (told.tokens[0], told.tokens[2], told.tokens[-1]) == (40, 41, 42)


def test_an_adapter_is_loaded_and_then_may_be_wanted():
    asked, backend = questions()
    with pytest.raises(BadRequest, match="has been unloaded"):
        asked.check_adapters(((5, 1.0),))
    asked.answers(one := LoadAdapter(1, 5, b"x"))
    with pytest.raises(BadRequest, match="has been unloaded"):
        asked.check_adapters(((5, 1.0),))
    assert load(asked, backend, one) == [Obeyed(1)]
    asked.check_adapters(((5, 1.0),))
    assert backend.adapters == {5: b"x"}


def test_an_adapter_that_can_not_be_loaded_is_not_there():
    asked, backend = questions()
    asked.answers(one := LoadAdapter(1, 5, b"bad"))
    asked.answers(UnloadAdapter(2, 5))
    with pytest.raises(BadGGUF):
        asked.answers(AdapterLoaded(one, BadGGUF("it is bad")))
    with pytest.raises(BadRequest):
        asked.check_adapters(((5, 1.0),))
    asked.free_unused(Scheduler(LIMITS))
    assert not backend.adapters


def test_an_adapter_unloaded_while_it_is_loaded_goes_when_it_has_come():
    asked, backend = questions()
    asked.answers(one := LoadAdapter(1, 5, b"x"))
    assert asked.answers(UnloadAdapter(2, 5)) == [Obeyed(2)]
    asked.free_unused(Scheduler(LIMITS))
    assert load(asked, backend, one) == [Obeyed(1)]
    with pytest.raises(BadRequest):
        asked.check_adapters(((5, 1.0),))
    assert backend.adapters
    asked.free_unused(Scheduler(LIMITS))
    assert not backend.adapters


def test_no_adapter_is_freed_while_another_one_is_loaded():
    asked, backend = questions([0])
    asked.answers(one := LoadAdapter(1, 5, b"x"))
    asked.answers(UnloadAdapter(2, 0))
    asked.free_unused(Scheduler(LIMITS))
    assert backend.adapters.keys() == {0}
    load(asked, backend, one)
    asked.free_unused(Scheduler(LIMITS))
    assert backend.adapters.keys() == {5}


def test_an_unloaded_adapter_goes_when_its_last_answer_has_ended():
    asked, backend = questions([0, 1])
    scheduler = Scheduler(LIMITS)
    params = GenerateParams(adapters=((0, 1.0),))
    scheduler.add(Sequence(1, [5, 6], 20, params))
    scheduler.add(Sequence(2, [5, 6], 20, params))
    scheduler.commit(batch := scheduler.schedule(), backend.decode(batch).sampled)
    asked.answers(UnloadAdapter(1, 0))
    asked.answers(UnloadAdapter(2, 1))
    with pytest.raises(BadRequest):
        asked.check_adapters(((0, 1.0),))
    asked.free_unused(scheduler)
    assert backend.adapters.keys() == {0}
    scheduler.cancel(1)
    asked.free_unused(scheduler)
    assert backend.adapters.keys() == {0}
    scheduler.cancel(2)
    asked.free_unused(scheduler)
    assert not backend.adapters


def test_unloading_what_an_earlier_worker_had_is_no_error():
    asked, backend = questions()
    assert asked.answers(UnloadAdapter(1, 7)) == [Obeyed(1)]
    asked.free_unused(Scheduler(LIMITS))
    assert not backend.adapters
