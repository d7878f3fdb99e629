"""The loop, over the strict fake: told exactly once, whatever comes in which order."""

import itertools
import math
from array import array
from dataclasses import replace

import pytest
from runner_fakes import VOCABULARY, FakeBackend, answer
from worker_runs import LIMITS, endings, greedy, run_worker, serve, shown, text_of

from edgellm.chat.events import PromptRead, SoFar
from edgellm.chat.messages import GenerateParams, Regex, SamplingParams
from edgellm.chat.pictures import Pictures
from edgellm.runner.backend import Input
from edgellm.runner.batch import Save, Start
from edgellm.runner.intake.beside import Compiled, Read
from edgellm.runner.kv.edge import BlobSize
from edgellm.runner.messages import (
    Cancel,
    Delta,
    Done,
    Embed,
    Embedded,
    Gauge,
    Generate,
    Infill,
    LoadAdapter,
    Noted,
    Obeyed,
    ReadSteps,
    Shutdown,
    Steps,
    Tokenize,
    Tokenized,
    UnloadAdapter,
)


def test_the_text_is_the_models_and_the_end_comes_once():
    told = serve([Generate(1, (5, 6), greedy(6))])
    assert text_of(told, 1) == shown(answer([5, 6], 6))
    (done,) = endings(told, 1)
    assert (done.reason, done.n_prompt, done.n_output) == ("length", 2, 6)


def test_every_token_is_counted_once_in_the_deltas():
    told = serve([Generate(1, (5, 6), greedy(6))])
    assert sum(m.n_tokens for m in told if isinstance(m, Delta)) == 6


def test_a_prompt_of_several_steps_is_told_of_while_it_is_read():
    prompt = (5, 6) * 40  # in steps of 32, at 0.01 s by the clock
    told = serve([Generate(1, prompt, greedy(2, tells_progress=True, tells_timings=True))])
    ours = [one for one in told if getattr(one, "request_id", None) == 1]
    notes = [one.note for one in ours if isinstance(one, Noted)]
    read = [one.n_read for one in notes if isinstance(one, PromptRead)]
    assert (read[0], read[-1]) == (0, 80)
    assert read == sorted(read)
    assert [one.n_output for one in notes if isinstance(one, SoFar)] == [1, 2]
    assert isinstance(ours[0], Noted)
    assert isinstance(ours[-1], Done)


def test_an_end_token_is_not_part_of_the_text():
    told = serve([Generate(1, (5, 6), greedy(9))], end_after=3)
    assert text_of(told, 1) == shown(answer([5, 6], 2))
    assert endings(told, 1)[0].reason == "stop"


def test_a_stop_string_ends_the_answer_and_is_not_shown():
    want = shown(answer([5, 6], 9))
    stop = want[4:9]
    told = serve([Generate(1, (5, 6), greedy(9, stop=(stop,)))])
    assert text_of(told, 1) == want[: want.index(stop)]
    assert endings(told, 1)[0].reason == "stop"


def test_a_cancelled_request_ends_within_a_step_and_its_neighbour_goes_on():
    told = serve([Generate(1, (5,), greedy(50)), Generate(2, (6,), greedy(20))], [], [Cancel(1)])
    assert [m.reason for m in endings(told, 1)] == ["cancelled"]
    assert endings(told, 1)[0].n_output <= 3
    assert text_of(told, 2) == shown(answer([6], 20))


def test_one_bad_request_is_told_so_and_disturbs_nobody():
    told = serve([Generate(1, (5,) * 200, greedy(5)), Generate(2, (6,), greedy(5))])
    assert endings(told, 1)[0].http_status == 400
    assert text_of(told, 2) == shown(answer([6], 5))


def test_an_empty_prompt_is_refused():
    assert endings(serve([Generate(1, (), greedy(5))]), 1)[0].http_status == 400


def test_a_token_outside_the_vocabulary_is_refused_before_it_spoils_a_batch():
    told = serve([Generate(1, (5, VOCABULARY), greedy(5)), Generate(2, (6,), greedy(5))])
    assert "token 50 is not in the vocabulary" in endings(told, 1)[0].message
    assert text_of(told, 2) == shown(answer([6], 5))


def test_a_bias_for_a_token_outside_the_vocabulary_is_refused_before_anything_is_prepared():
    biased = SamplingParams(temperature=0, logit_bias=((VOCABULARY - 1, 1.0), (VOCABULARY, 1.0)))
    params = GenerateParams(biased, max_tokens=5, structure=Regex("a"))
    told = serve([Generate(1, (5,), params), Generate(2, (6,), greedy(5))])
    (ending,) = endings(told, 1)
    assert ending.message == "token 50 is not in the vocabulary of 50 tokens"
    assert (ending.http_status, ending.param) == (400, "logit_bias")
    assert text_of(told, 2) == shown(answer([6], 5))


def test_a_structure_that_cannot_be_compiled_is_the_requests_own_fault():
    told = serve([Generate(1, (5,), greedy(5, structure=Regex("(")))], [])
    assert endings(told, 1)[0].http_status == 400


def test_a_request_cancelled_while_its_structure_compiles_is_never_started():
    request = Generate(1, (5,), greedy(5, structure=Regex("a")))
    told = serve([request, Cancel(1)], [])
    assert text_of(told, 1) == ""


def test_an_embedding_model_embeds_and_does_not_generate():
    told = serve([Embed(1, ("ab", "cde")), Generate(2, (5,), greedy(5))], embeds=True)
    (embedded,) = [m for m in told if isinstance(m, Embedded)]
    assert [array("f", vector)[0] for vector in embedded.vectors] == [2, 3]
    assert endings(told, 2)[0].http_status == 400


def test_a_text_model_does_not_embed():
    assert endings(serve([Embed(1, ("ab",))]), 1)[0].http_status == 400


def test_an_input_too_long_to_embed_is_refused_with_both_numbers():
    (rejected,) = endings(serve([Embed(1, ("a" * 50,))], embeds=True), 1)
    assert "50 tokens" in rejected.message
    assert "32" in rejected.message


def test_tokenize_answers_with_ids():
    (reply,) = [m for m in serve([Tokenize(9, "ab", True)]) if isinstance(m, Tokenized)]
    assert reply.tokens == tuple(3 + ord(c) % (VOCABULARY - 3) for c in "ab")


def test_a_long_text_is_made_into_tokens_beside_the_loop_and_then_goes_on():
    text = "a" * 40_000
    told = serve([Tokenize(1, text, False), Infill(2, text, "b"), Tokenize(3, "a", False)])
    kinds = [m for m in told if isinstance(m, Tokenized)]
    assert [m.request_id for m in kinds] == [3, 2, 1]  # the short one does not wait
    assert len(kinds[-1].tokens) == 40_000
    told = serve([Embed(1, ("a",) * 40_000)], embeds=True)
    assert [len(m.vectors) for m in told if isinstance(m, Embedded)] == [40_000]


def test_a_long_text_that_cannot_be_embedded_is_refused_after_it_was_read():
    told = serve([Embed(1, ("a" * 40_000,))], embeds=True)
    (refused,) = endings(told, 1)
    assert "input 0 has 40000 tokens; this model takes 32" in refused.message


def test_a_long_text_that_nobody_waits_for_any_more_goes_no_further():
    long = Embed(1, ("a",) * 40_000)
    read = Read(long, [Input([5])] * 40_000)
    told = serve([long], [Cancel(1)], [read], embeds=True, prepares=False)
    assert not [m for m in told if isinstance(m, Embedded)]


def test_what_was_guessed_is_told_with_the_end():
    told = serve([Generate(1, (5, 6), greedy(60))], say=lambda tokens: 3 + (tokens[-1] - 2) % 5)
    (done,) = endings(told, 1)
    assert done.n_output == 60
    assert 0 < done.n_draft_accepted <= done.n_drafted
    last = [m for m in told if isinstance(m, Gauge)][-1]
    assert (last.n_drafted, last.n_draft_accepted) == (done.n_drafted, done.n_draft_accepted)


def test_a_stop_string_within_accepted_guesses_ends_the_answer_there():
    told = serve(
        [Generate(1, (5, 6), greedy(60, stop=("3 4 5 6 7 " * 6,)))],
        say=lambda tokens: 3 + (tokens[-1] - 2) % 5,
    )
    (done,) = endings(told, 1)
    assert (text_of(told, 1), done.reason) == ("7 ", "stop")
    assert done.n_output == 1 + 5 * 6
    assert done.n_drafted > 0


def test_requests_that_take_no_time_to_prepare_are_computed_together():
    both = [Generate(i, (5, 6 + i), greedy(2, structure=Regex("a"))) for i in (1, 2)]
    told = serve([*both, ReadSteps(3, 9)], [ReadSteps(4, 9)], at_once=True)
    first = next(m for m in told if isinstance(m, Steps) and m.steps).steps[0]
    assert (first.n_sequences, first.n_prompt) == (2, 4)
    assert [len(endings(told, i)) for i in (1, 2)] == [1, 1]


def test_an_adapter_unloaded_while_a_request_is_prepared_is_not_computed_with():
    wants = GenerateParams(SamplingParams(temperature=0), max_tokens=3, adapters=((0, 1.0),))
    long = Generate(2, "a" * 100_000, wants)
    short = Compiled(Generate(2, "ab", wants), None)  # its text has become tokens meanwhile
    arrivals = [LoadAdapter(1, 0, b"x"), long], [UnloadAdapter(3, 0)], [], [short]
    told = serve(*arrivals, prepares=False)
    (rejected,) = endings(told, 2)
    assert "has been unloaded" in rejected.message
    assert [m.request_id for m in told if isinstance(m, Obeyed)] == [1, 3]


def test_an_adapter_is_there_for_a_request_that_was_prepared():
    wants = GenerateParams(SamplingParams(temperature=0), max_tokens=3, adapters=((0, 1.0),))
    told = serve([LoadAdapter(1, 0, b"x")], [Generate(2, (5, 6), wants)])
    assert text_of(told, 2) == shown(answer([5, 6], 3, ((0, 1.0),)))


def test_a_prepared_prompt_longer_than_the_context_is_refused_to_who_asked():
    long = Generate(2, "a" * 100_000, greedy(3))
    told = serve([long], [], [Compiled(long, None)], prepares=False)
    (rejected,) = endings(told, 2)
    assert "100000 tokens" in rejected.message


class Device(FakeBackend):
    """Computes by itself: there is time to tell something meanwhile."""

    overlaps = True

    def __init__(self, limits, log):
        super().__init__(limits)
        self.log = log

    def while_computing(self, do):
        self.meanwhile = do

    def decode(self, batch):
        self.log.append("computes")
        self.meanwhile()
        self.log.append("has computed")
        return super().decode(batch)


def test_while_a_device_computes_the_step_before_is_told():
    log, asked = [], [[Generate(1, (5, 6), greedy(4))]]

    def take(wait_s):
        if wait_s:
            log.append("waits")
        return asked.pop(0) if asked else [Shutdown()] if wait_s else []

    def tell(messages):
        log.extend(m.text if isinstance(m, Delta) else "end" for m in messages if kind(m))

    def kind(message):
        return isinstance(message, Delta | Done)

    backend = Device(LIMITS, log)
    run_worker(backend, take, tell)
    first, second, third, fourth = (f"{token} " for token in answer([5, 6], 4))
    assert log == [
        "waits", "computes", "has computed", first, "computes", "has computed",
        "computes", second, "has computed", "computes", third, "has computed",
        fourth, "end", "waits",
    ]  # fmt: skip


def test_what_nobody_waits_for_begins_after_a_pause_and_who_comes_in_it_goes_first():
    blob = BlobSize(base_bytes=0, cell_bytes=1)
    limits = replace(LIMITS, n_scratch=1, n_ids=9, shelf_bytes=10_000, blob=blob)
    arrivals = [[Generate(1, (5,) * 40, greedy(2))], [Generate(2, (6,) * 40, greedy(2))], [], []]
    waits, ops = [], []

    class Backend(FakeBackend):
        def decode(self, batch):
            ops.extend(type(op) for op in batch.ops if isinstance(op, Start | Save))
            return super().decode(batch)

    def take(wait_s):
        if not wait_s:
            return []
        waits.append(wait_s)
        return arrivals.pop(0) if arrivals else [Shutdown()]

    run_worker(Backend(limits), take, lambda messages: None)
    assert waits[0] == math.inf
    assert all(0 < wait_s <= 0.05 for wait_s in waits[1:3])
    assert ops[:2] == [Start, Start]
    assert Save in ops


@pytest.mark.parametrize("is_running", [False, True], ids=["ended", "running"])
def test_what_can_be_kept_is_written_before_the_worker_goes(is_running):
    blob = BlobSize(base_bytes=0, cell_bytes=1)
    limits = replace(LIMITS, n_scratch=1, n_ids=9, shelf_bytes=10_000, disk_bytes=10_000, blob=blob)
    arrivals = [[Generate(1, (5,) * 40, greedy(50 if is_running else 2))], [Shutdown()]]
    n_turns = itertools.count()

    def take(wait_s):
        return arrivals.pop(0) if wait_s or next(n_turns) == 4 else []

    backend = FakeBackend(limits)
    run_worker(backend, take, lambda messages: None)
    written = sum(len(tokens) - stored.start for stored, tokens in backend.files.values())
    assert written == (43 if is_running else 41)
    assert not backend.started


@pytest.mark.parametrize(
    "asked",
    [
        Generate(1, "hello", greedy(4, pictures=Pictures("<image>", (b"png",), ("1",)))),
        Generate(1, "hello", greedy(4, structure=Regex("a"))),
        Tokenize(1, "a" * 40_000, False),
        LoadAdapter(1, 7, b"there"),
    ],
    ids=["a picture", "a structure", "a long text", "an adapter"],
)
def test_while_another_thread_works_the_loop_tells_that_it_lives_for_an_hour(asked):
    now_s, gauged_s, arrivals = [100.0], [], [[asked]]

    def take(wait_s):
        if arrivals:
            return arrivals.pop(0)
        if wait_s == math.inf:
            return [Shutdown()]
        now_s[0] += wait_s
        return []

    def tell(messages):
        gauged_s.extend(now_s[0] for message in messages if isinstance(message, Gauge))

    run_worker(FakeBackend(LIMITS), take, tell, clock=lambda: now_s[0])
    gaps_s = [later - sooner for sooner, later in itertools.pairwise(gauged_s)]
    assert max(gaps_s) == 30
    assert gauged_s[-1] == 100 + 3600
