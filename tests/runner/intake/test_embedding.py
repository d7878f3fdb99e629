"""Inputs of many requests in few calls of the model, over the strict fake."""

from array import array

import pytest
from runner_fakes import FakeBackend

from edgellm.errors import BadRequest, ContextTooLong
from edgellm.runner.backend import NoKVSlot
from edgellm.runner.intake.embedding import Embeddings
from edgellm.runner.intake.inputs import inputs_of
from edgellm.runner.kv.memory import Limits
from edgellm.runner.messages import Embed, Embedded, Rerank, Scored

LIMITS = Limits(n_cells=400, n_ctx_seq=100, n_batch=32, n_seq_max=4)


def of_lengths(request_id, *lengths, **more):
    return Embed(request_id, tuple((5,) * n for n in lengths), **more)


def add(embeddings, backend, request):
    embeddings.check(request)
    embeddings.add(request, inputs_of(backend, request))


def run(*requests, pooling="mean", limits=LIMITS):
    backend = FakeBackend(limits, pooling=pooling)
    embeddings = Embeddings(backend, lambda: 0.0)
    for request in requests:
        add(embeddings, backend, request)
    answers, failed = [], []
    while embeddings:
        computed = embeddings.step()
        answers += computed.answers
        failed += computed.failed
    return answers, failed, backend.embedded


def lengths_of(calls):
    return [[len(tokens) for tokens in call] for call in calls]


def told(answer):
    return [array("f", vector)[0] for vector in answer.vectors]


def test_a_requests_vectors_come_in_the_order_of_its_inputs():
    lengths = (5, 5, 5, 20, 30, 1, 1, 1, 1, 1)
    (answer,), _, calls = run(of_lengths(1, *lengths))
    assert told(answer) == list(lengths)
    assert answer.n_tokens == sum(lengths)
    assert [n for call in lengths_of(calls) for n in call] == list(lengths)
    assert all(sum(call) <= 32 and len(call) <= 4 for call in lengths_of(calls))


def test_who_shares_a_step_has_its_part_of_it_by_tokens():
    seconds = iter(range(100))
    backend = FakeBackend(LIMITS, pooling="mean")
    embeddings = Embeddings(backend, lambda: float(next(seconds)))
    for request in (of_lengths(1, 3, 30), of_lengths(2, 9)):
        add(embeddings, backend, request)
    (short,) = embeddings.step().answers
    assert [*embeddings.work] == [(1, 0.25, 3, 0.25)]
    (long,) = embeddings.step().answers
    assert (short.request_id, short.step_share, short.step_share_s) == (2, 0.75, 0.75)
    assert (long.request_id, long.step_share, long.step_share_s) == (1, 1.25, 1.25)
    assert [*embeddings.work] == []


def test_inputs_of_several_requests_go_down_in_one_call():
    answers, _, calls = run(of_lengths(1, 3), of_lengths(2, 4), of_lengths(3, 5))
    assert lengths_of(calls) == [[3, 4, 5]]
    assert {answer.request_id: told(answer) for answer in answers} == {1: [3], 2: [4], 3: [5]}


def test_a_single_query_does_not_wait_for_somebodys_many_documents():
    answers, _, _ = run(of_lengths(1, *[10] * 40), of_lengths(2, 10))
    assert [answer.request_id for answer in answers] == [2, 1]


def test_a_long_input_is_not_passed_over_for_ever():
    short = [of_lengths(n, *[8] * 6) for n in (1, 2, 3, 4)]
    answers, _, calls = run(*short, of_lengths(5, 32))
    assert [32] in lengths_of(calls)[:5]
    assert len(answers) == 5


def test_batch_invariant_each_input_is_computed_alone():
    limits = Limits(n_cells=400, n_ctx_seq=100, n_batch=32, n_seq_max=4, n_chunk=16)
    _, _, calls = run(of_lengths(1, 3, 4), of_lengths(2, 5), limits=limits)
    assert sorted(lengths_of(calls)) == [[3], [4], [5]]


def test_each_input_keeps_the_norm_that_its_request_asked_for():
    answers, _, _ = run(of_lengths(1, 3, norm=-1), of_lengths(2, 4))
    assert {a.request_id: array("f", a.vectors[0])[1] for a in answers} == {1: -1, 2: 2}


def test_what_the_model_fails_costs_only_those_in_that_call():
    answers, failed, _ = run(Embed(1, ((13,),)), *(of_lengths(n, 32) for n in (2, 3)))
    assert [request_id for request_id, _ in failed] == [1]
    assert [answer.request_id for answer in answers] == [2, 3]


class Full(FakeBackend):
    """As llama.cpp, when it finds no cells for a batch."""

    def embed(self, inputs):
        if any(each.tokens == [13] for each in inputs):
            raise NoKVSlot
        return super().embed(inputs)


def test_a_batch_that_finds_no_cells_costs_only_those_in_it():
    backend = Full(LIMITS)
    embeddings = Embeddings(backend, lambda: 0.0)
    add(embeddings, backend, Embed(1, ((13,),)))
    add(embeddings, backend, of_lengths(2, 32))
    ((request_id, error),) = embeddings.step().failed
    assert request_id == 1
    assert "no room in its context for a batch of 1 tokens" in str(error)
    assert [answer.request_id for answer in embeddings.step().answers] == [2]


def test_an_input_that_is_too_long_is_refused_with_both_numbers_and_its_place():
    with pytest.raises(ContextTooLong, match=r"input 1 has 33 tokens; this model takes 32") as it:
        inputs_of(FakeBackend(LIMITS), of_lengths(1, 3, 33))
    assert it.value.param == "input"


def test_a_cancelled_request_is_computed_no_further():
    backend = FakeBackend(LIMITS)
    embeddings = Embeddings(backend, lambda: 0.0)
    add(embeddings, backend, of_lengths(1, *[30] * 5))
    add(embeddings, backend, of_lengths(2, 30))
    embeddings.step()
    embeddings.cancel(1)
    assert [answer.request_id for answer in embeddings.step().answers] == [2]
    assert not embeddings


def test_a_pairs_score_is_the_number_that_the_backend_points_at():
    (answer,), _, calls = run(Rerank(1, "q", ("a", "bb", "c")), pooling="rank")
    assert isinstance(answer, Scored)
    assert answer.scores == tuple(call[-1] for call in calls[0])
    assert answer.n_tokens == 3 + 4 + 3


def test_a_document_is_cut_only_where_that_was_asked_for():
    long = "x" * 40
    with pytest.raises(ContextTooLong, match="document 1 and the query have together 42 tokens"):
        run(Rerank(1, "q", ("a", long)), pooling="rank")
    (answer,), _, _ = run(Rerank(1, "q", ("a", long), max_doc_tokens=10), pooling="rank")
    assert answer.n_tokens == 3 + 12


def of_width(n_embd, pooling):
    backend = FakeBackend(LIMITS, pooling=pooling)
    backend.n_embd = n_embd
    return backend


@pytest.mark.parametrize(("pooling", "lengths"), [("none", (1, 20, 10)), ("mean", (5,) * 20)])
def test_vectors_larger_than_an_answer_may_be_are_refused_with_both_numbers(pooling, lengths):
    backend = of_width(1 << 20, pooling)
    said = r"first \d+ inputs are (84|68).0 MiB; one answer may have 64.0 MiB"
    with pytest.raises(BadRequest, match=said):
        inputs_of(backend, of_lengths(1, *lengths))
    assert len(inputs_of(backend, of_lengths(1, *lengths[:1]))) == 1


def test_openais_most_inputs_are_answered_at_any_width_that_there_is():
    assert len(inputs_of(of_width(8192, "last"), of_lengths(1, *[30] * 2048))) == 2048


def test_of_large_answers_no_more_are_begun_than_have_room_beside_each_other():
    backend = of_width(1 << 20, "none")
    embeddings = Embeddings(backend, lambda: 0.0)
    for request_id in range(1, 8):
        add(embeddings, backend, of_lengths(request_id, *[2] * 8))  # 64 MiB each
    add(embeddings, backend, of_lengths(8, 1))
    embeddings.cancel(7)
    told, most_open = [], 0
    while embeddings:
        told += embeddings.step().answers
        n_begun = sum(0 < len(job.vectors) < 8 for job in embeddings._jobs)
        most_open = max(most_open, n_begun)
    assert sorted(answer.request_id for answer in told) == [1, 2, 3, 4, 5, 6, 8]
    assert most_open == 4


class Careful(FakeBackend):
    """Knows how much text it made into tokens."""

    n_read = 0

    def tokenize(self, text, add_special, parse_special=True):
        self.n_read += len(text)
        return super().tokenize(text, add_special, parse_special)


@pytest.mark.parametrize(
    ("query", "documents", "said"),
    [
        ("q" * 2049, ("a",) * 2048, "the query has 2049 characters; this model takes 32 tokens"),
        ("q", ("a", "b" * 2049), "document 1 has 2049 characters; this model takes 32 tokens"),
    ],
)
def test_a_text_far_too_long_to_rank_is_not_even_made_into_tokens(query, documents, said):
    backend = Careful(LIMITS, pooling="rank")
    with pytest.raises(ContextTooLong, match=said):
        inputs_of(backend, Rerank(1, query, documents))
    assert backend.n_read == 0


def test_after_the_first_pair_that_is_too_long_no_other_is_made():
    backend = Careful(LIMITS, pooling="rank")
    with pytest.raises(ContextTooLong, match="document 0 and the query have together 102 tokens"):
        inputs_of(backend, Rerank(1, "q" * 100, ("a",) * 2048))
    assert backend.n_read == 101


def test_a_pair_without_a_token_is_refused_before_a_step_is_divided_by_nothing(monkeypatch):
    backend = FakeBackend(LIMITS, pooling="rank")
    monkeypatch.setattr(backend, "pairs", lambda *asked: iter([[]]))  # a vocabulary without marks
    with pytest.raises(BadRequest, match="document 0 and the query are empty"):
        inputs_of(backend, Rerank(1, " ", ("",)))


def test_of_a_document_that_is_to_be_cut_no_more_is_read_than_may_stay():
    backend = Careful(LIMITS, pooling="rank")
    inputs_of(backend, Rerank(1, "q", ("a" * 1_000_000,), max_doc_tokens=10))
    assert backend.n_read == 1 + 640


@pytest.mark.parametrize(
    ("pooling", "request_", "said"),
    [
        ("rank", Embed(1, ("a",)), "gives no embeddings"),
        ("mean", Rerank(1, "q", ("a",)), "ranks no documents"),
    ],
)
def test_a_model_does_what_it_was_made_for(pooling, request_, said):
    with pytest.raises(BadRequest, match=said):
        run(request_, pooling=pooling)


def test_an_embedding_is_told_as_such():
    (answer,), _, _ = run(of_lengths(1, 3))
    assert isinstance(answer, Embedded)
