"""Sharing where sequences carry a state: only at checkpoints, and never a wrong answer."""

import random
from dataclasses import replace

import pytest
from state_runs import KINDS, TURN_END, Run, random_history, random_limits, text

from edgellm.chat.messages import GenerateParams
from edgellm.runner.batch import Blank, Checkpoint, Copy, Fork, Resume, Trim
from edgellm.runner.intake.pictures import PictureRows, placed, row_ids

each_kind = pytest.mark.parametrize("limits", KINDS.values(), ids=list(KINDS))


@each_kind
def test_a_burst_computes_its_common_prefix_once(limits):
    run, shared = Run(limits), text(200)
    for i in range(4):
        run.add([*shared, 40 + i, *text(7, seed=i + 1)])
    run.finish()
    assert run.backend.n_computed == 200 + 4 * 8 + 4 * 3
    assert sorted(s.n_cached for s in run.sequences.values()) == [0, 200, 200, 200]


@each_kind
def test_a_conversation_goes_on_where_it_ended(limits):
    run = Run(limits)
    first, _ = run.turn(text(100), n_output=20)
    second, n_computed = run.turn([*first.tokens, *text(10, seed=1)], n_output=20)
    # The last token of an answer is told but never computed.
    assert second.n_cached == 119
    assert n_computed == 1 + 10 + 19


@each_kind
def test_an_answer_that_comes_back_changed_is_computed_from_the_last_message_on(limits):
    """As where thoughts are left out of the next turn's prompt."""
    run = Run(limits)
    prompt = [*text(100), TURN_END, *text(60, seed=1), TURN_END, *text(3, seed=2)]
    run.turn(prompt, n_output=30)
    again, _ = run.turn([*prompt, 5, *text(20, seed=3)])
    assert again.n_cached in (162, 165)  # the message's end, or the prompt's
    other, _ = run.turn([*prompt[:-2], *text(20, seed=4)])
    assert other.n_cached == 162


@each_kind
def test_a_conversation_edited_in_the_middle_falls_back_to_the_checkpoint_before_the_edit(limits):
    run = Run(limits)
    system = [*text(80), TURN_END]
    first, _ = run.turn([*system, *text(300, seed=1), TURN_END, *text(300, seed=2)], n_output=9)
    edited, _ = run.turn([*first.tokens[:200], *text(40, seed=3)])
    assert edited.n_cached == len(system)
    # Where the two parted is worth a checkpoint: a third one will part there too.
    third, _ = run.turn([*first.tokens[:200], *text(40, seed=4)])
    assert third.n_cached == 200


@each_kind
def test_a_long_prompt_has_checkpoints_on_its_way(limits):
    run = Run(replace(limits, n_ctx_seq=2000, n_cells=8000))
    run.turn(text(1500))
    near, _ = run.turn([*text(1500)[:1400], *text(9, seed=1)])
    assert near.n_cached == 1024


@each_kind
def test_a_follower_forks_where_it_met_its_leader_and_not_where_the_leader_is(limits):
    run, shared = Run(limits), text(150)
    run.add([*shared, *text(300, seed=1)])
    run.step()
    follower = run.add([*shared, *text(10, seed=2)])
    run.finish()
    assert follower.n_cached == 150


@each_kind
def test_a_follower_of_a_cancelled_leader_goes_on_from_what_there_is(limits):
    run, prompt = Run(limits), [*text(100), TURN_END, *text(200, seed=1)]
    run.add(prompt)
    run.step()
    run.add([*prompt, 7])
    for _ in range(2):
        run.step()
    run.scheduler.cancel(0)
    del run.sequences[0]
    run.finish()
    assert run.sequences[1].n_cached >= 101


@each_kind
def test_a_prompt_may_be_asked_again(limits):
    run = Run(limits)
    prompt = [*text(90), TURN_END, *text(4, seed=1)]
    first, _ = run.turn(prompt)
    again, n_computed = run.turn(prompt)
    assert first.n_cached == 0
    assert again.n_cached == 91
    assert n_computed == 4 + 3


@each_kind
def test_of_prompts_that_are_asked_again_at_the_same_time_one_token_each_is_computed(limits):
    run, shared = Run(limits), text(100)
    prompts = [[*shared, *text(32, seed=i + 1)] for i in range(4)]
    for _ in range(2):
        n_before = run.backend.n_computed
        for prompt in prompts:
            run.add(prompt, n_output=1)
        run.finish()
    assert run.backend.n_computed - n_before == len(prompts)


@each_kind
def test_who_asks_for_no_cache_is_computed_whole(limits):
    run = Run(limits)
    run.turn(text(100))
    sequence = run.add([*text(100), 5])
    sequence.params = GenerateParams(cache_prompt=False)
    run.finish()
    assert sequence.n_cached == 0


@each_kind
def test_without_room_for_a_checkpoint_every_prompt_is_computed_and_right(limits):
    run = Run(replace(limits, state=replace(limits.state, budget_bytes=10)))
    for i in range(3):
        run.add([*text(100), i + 5])
    run.finish()
    assert all(s.n_cached == 0 for s in run.sequences.values())
    assert not [op for op in run.ops if isinstance(op, Checkpoint)]


def test_a_window_that_is_kept_holds_no_cell_of_the_windows():
    run = Run(KINDS["sliding"])
    run.turn(text(100), n_output=20)
    kinds = [type(op) for op in run.scheduler.schedule().ops]
    assert kinds.index(Checkpoint) < kinds.index(Blank) < kinds.index(Fork)


def test_what_is_to_be_copied_out_does_not_wait_for_the_next_request():
    run = Run(KINDS["hybrid"])
    run.turn([*text(100), TURN_END], n_output=20)
    assert run.scheduler.is_at_rest  # the state of what stays is where it was
    run = Run(KINDS["sliding"])
    run.turn(text(100), n_output=20)
    assert not run.scheduler.is_at_rest
    assert not run.scheduler.schedule().rows
    assert run.scheduler.is_at_rest


def test_what_is_kept_aside_ends_where_it_can_be_gone_on_from():
    run = Run(KINDS["sliding"])
    run.turn([*text(100), TURN_END, *text(5, seed=1)], n_output=3)
    (kept,) = run.scheduler.memory.retained.by_id.values()
    assert kept.n_computed == 101  # six tokens more are computed sooner than copied


def test_a_recurrent_model_keeps_no_sequence_but_its_checkpoints():
    run = Run(KINDS["recurrent"])
    for i in range(12):
        run.turn(text(60, seed=i), n_output=20)
    run.step()
    assert len(run.scheduler.memory.retained) == 12
    assert not run.backend.cells
    again, _ = run.turn([*text(60, seed=0), *run.answers[0], 5])
    assert again.n_cached == 79


def test_what_only_one_conversation_holds_outlives_the_leaves_of_a_tree():
    run = Run(replace(KINDS["sliding"], n_seq_max=2, n_ids=4))
    own, _ = run.turn(text(150, seed=9))
    run.turn([*text(150), 5])
    for i in range(3):
        run.turn([*text(150), *text(20, seed=20 + i)])
    again, _ = run.turn([*own.tokens, 6])
    assert again.n_cached == 149


def test_a_hybrid_conversation_that_stayed_is_gone_on_from_without_a_copy():
    run = Run(KINDS["hybrid"])
    first, _ = run.turn(text(100), n_output=20)
    run.ops.clear()
    run.turn([*first.tokens, *text(10, seed=1)])
    assert not [op for op in run.ops if isinstance(op, Resume | Fork | Trim)]


def test_a_stream_is_cut_back_only_after_its_state_is_there():
    run = Run(KINDS["hybrid, split"])
    for i in range(2):
        run.add([*text(100), *text(9, seed=i + 1)])
    run.finish()
    kinds = [type(op) for op in run.ops]
    i = kinds.index(Copy)
    assert kinds[i : i + 3] == [Copy, Resume, Trim]


@each_kind
@pytest.mark.parametrize("at_once", [False, True])
def test_a_checkpoint_before_a_picture_is_taken_though_the_text_goes_on(limits, at_once):
    run, system = Run(replace(limits, n_batch=128)), [*text(47), TURN_END]
    picture = PictureRows(row_ids(b"red", 0, 40), None, 0, at_once=at_once)
    prompt, pictures = placed([(*system, *text(50)), picture, tuple(text(9))])
    run.add(prompt, pictures=pictures)
    run.finish()
    other, _ = run.turn([*system, *text(60, seed=5)])
    assert other.n_cached == len(system)


@each_kind
def test_a_prompt_that_ends_with_a_picture_seen_at_once_is_shared_up_to_it(limits):
    run, words = Run(replace(limits, n_batch=128)), tuple(text(60))
    picture = PictureRows(row_ids(b"red", 0, 40), None, 0, at_once=True)
    prompt, pictures = placed([words, picture])
    for n_together in (2, 1):
        for _ in range(n_together):
            run.add(prompt, pictures=pictures)
        run.finish()
    assert [s.n_cached for s in run.sequences.values()] == [0, len(words), len(words)]


@each_kind
@pytest.mark.parametrize("n_text", [3, 88])
def test_a_picture_that_was_left_in_the_middle_is_read_again_from_its_beginning(limits, n_text):
    run, shared = Run(limits), [*text(47), TURN_END, *text(60)][:n_text]
    places = object()  # its rows share positions, and may be computed one after the other
    picture = PictureRows(row_ids(b"red", 0, 150), None, 0, places=places, n_positions=10)
    prompt, pictures = placed([tuple(shared), picture, (7, 8, 9)])
    left = run.add(prompt, pictures=pictures)
    while left.n_computed <= n_text:
        run.step()
    run.scheduler.cancel(left.request_id)
    del run.sequences[left.request_id]
    again = run.add(prompt, pictures=pictures)
    run.finish()
    assert again.n_cached <= n_text


@each_kind
def test_batch_invariant_only_whole_chunks_are_shared(limits):
    if limits.unified and limits.state.has_cells:
        pytest.skip("batch-invariant is split")
    run = Run(replace(limits, unified=False, n_cells=4000, n_chunk=16))
    for i in range(4):
        run.add([*text(70), *text(9, seed=i + 1)])
    run.finish()
    first = run.sequences[0]
    run.turn([*first.tokens, *text(5, seed=9)])
    assert [s.n_cached for s in run.sequences.values()] == [0, 64, 64, 64, 64]


def test_no_history_loses_an_id_a_cell_a_blob_or_a_right_answer():
    for seed in range(60):
        rng, limits = random.Random(seed), list(KINDS.values())[seed % len(KINDS)]
        budget_bytes = rng.choice((0, 100, 500, 2_000, 10_000))
        random_history(rng, random_limits(rng, limits, budget_bytes))
