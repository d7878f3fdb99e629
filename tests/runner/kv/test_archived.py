"""Conversations of models that carry a state, on disk: they outlive the worker."""

import random
from dataclasses import replace

import pytest
from state_fakes import StatefulBackend
from state_runs import (
    KINDS,
    STREAMS,
    TURN_END,
    Run,
    come_and_go,
    first_prompts,
    random_limits,
    text,
)

from edgellm.chat.messages import GenerateParams
from edgellm.runner.batch import Fetch, RestoreAll, SaveAll, Store
from edgellm.runner.kv.memory import Limits
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import State

ROOM = 1_000_000
KINDS = {
    name: replace(
        limits,
        disk_bytes=ROOM,
        state=replace(limits.state, fixed_bytes=limits.state.row_bytes, full_cell_bytes=2),
    )
    for name, limits in (KINDS | STREAMS).items()
}
each_kind = pytest.mark.parametrize("limits", KINDS.values(), ids=list(KINDS))
with_cells = pytest.mark.parametrize(
    "limits", [KINDS[name] for name in KINDS if name != "recurrent"],
    ids=[name for name in KINDS if name != "recurrent"],
)  # fmt: skip


class Life(Run):
    """A worker's. Its files come from the one before."""

    def __init__(self, limits: Limits, before: "Life | None" = None, pace: Pace | None = None):
        files = before.backend.files if before else {}
        limits = replace(limits, stored=tuple(stored for stored, _ in files.values()))
        super().__init__(limits)
        self.scheduler, self.backend = Scheduler(limits, pace), StatefulBackend(limits)
        self.backend.files = dict(files)

    def rest(self):
        """Until there is nothing to do: what should be written is."""
        while not (self.scheduler.is_at_rest and self.scheduler.idle):
            self.read()
            self.step()
        n_away = len(self.scheduler.memory._away)
        assert len(self.backend.wholes) == n_away, "a copy was forgotten in memory"

    def read(self, *, ok=True):
        while self.backend.fetches:
            self.scheduler.memory.fetched(*self.backend.fetch(ok=ok))

    def finish(self):
        self.rest()
        super().finish()


@each_kind
def test_the_next_worker_goes_on_where_the_last_one_was(limits):
    before = Life(limits)
    first, _ = before.turn(text(100), n_output=20)
    life = Life(limits, before)
    second, n_computed = life.turn([*first.tokens, *text(10, seed=1)], n_output=20)
    assert second.n_cached == second.n_loaded == 119
    assert n_computed == 1 + 10 + 19


@each_kind
def test_what_came_back_is_kept_as_if_it_had_ended_here(limits):
    before = Life(limits)
    first, _ = before.turn(text(100), n_output=20)
    life = Life(limits, before)
    second, _ = life.turn([*first.tokens, *text(10, seed=1)], n_output=20)
    third, _ = life.turn([*second.tokens, *text(10, seed=2)])
    assert (third.n_cached, third.n_loaded) == (149, 0)
    after = Life(limits, life)
    fourth, _ = after.turn([*third.tokens, *text(10, seed=3)])
    assert fourth.n_cached == 163


@each_kind
def test_nobody_is_given_the_end_of_another_text(limits):
    before = Life(limits)
    first, _ = before.turn(text(100), n_output=20)
    life = Life(limits, before)
    changed = [*first.tokens[:40], first.tokens[40] % 40 + 3, *first.tokens[41:], 7]
    for other in (changed, first.tokens[:60], first.tokens[:96]):
        sequence, _ = life.turn(other)
        assert sequence.n_loaded == 0


@each_kind
def test_a_conversation_comes_back_without_its_last_answer(limits):
    """As where thoughts are left out of the next turn's prompt."""
    before = Life(limits)
    prompt = [*text(100), TURN_END, *text(60, seed=1), TURN_END, *text(3, seed=2)]
    before.turn(prompt, n_output=30)
    again, _ = Life(limits, before).turn([*prompt, 5, *text(20, seed=3)])
    assert again.n_cached == (164 if limits.state.is_nothing else 162)  # all, or to a checkpoint


@each_kind
def test_conversations_that_begin_alike_find_what_they_have_in_common(limits):
    before, system = Life(limits), [*text(100), TURN_END]
    for i in range(3):
        before.turn([*system, *text(60, seed=i + 1)], n_output=20)
    n_files = len(before.backend.files)
    branch, _ = Life(limits, before).turn([*system, *text(60, seed=9)])
    assert branch.n_cached == branch.n_loaded == 101
    assert n_files == 1 + 3 * 2


@each_kind
def test_a_system_prompt_of_a_conversation_that_went_on_is_still_there(limits):
    life, system = Life(limits), [*text(100), TURN_END]
    said = [*system, *text(60, seed=1), TURN_END, *text(3)]
    for i in range(3):
        sequence, _ = life.turn(said, n_output=20)
        said = [*sequence.tokens, TURN_END, *text(40, seed=i + 2), TURN_END, *text(3)]
    assert len(life.backend.files) == 3
    branch, _ = Life(limits, life).turn([*system, *text(60, seed=9)])
    assert branch.n_cached == 101


@with_cells
def test_the_ends_of_all_conversations_are_copied_out_before_what_led_to_them(limits):
    life = Life(limits, pace=Pace(0.05))
    for i in range(2):
        life.add(text(100, seed=i), 20)
    while not life.scheduler.idle:
        life.step()
    life.rest()
    lengths = [op.stored.start for op in life.ops if isinstance(op, Store)]
    assert lengths == [119, 119, 99, 99]


@each_kind
def test_a_longer_file_of_a_conversation_replaces_the_shorter_ones(limits):
    life, sequence, n_files = Life(limits), None, []
    for turn in range(4):
        said = sequence.tokens if sequence else []
        sequence, _ = life.turn([*said, *text(60, seed=turn)], n_output=20)
        n_files.append(len(life.backend.files))
    assert n_files[0] == n_files[-1] <= 2


@each_kind
def test_the_folder_is_bounded_and_what_was_used_last_stays(limits):
    whole_bytes = limits.state.whole_bytes(119) if limits.state.has_cells else 128
    limits = replace(limits, disk_bytes=2 * whole_bytes)
    life = Life(limits)
    firsts = [life.turn(text(100, seed=i), n_output=20)[0] for i in range(4)]
    assert life.scheduler.memory.disk_bytes <= limits.disk_bytes
    cached = [Life(limits, life).turn([*first.tokens, 7])[0].n_cached for first in firsts]
    assert cached[3] == 119
    assert cached[0] == 0


@each_kind
def test_a_broken_file_is_computed_again(limits):
    before = Life(limits)
    first, _ = before.turn(text(100), n_output=20)
    life = Life(limits, before)
    again = life.add([*first.tokens, 7])
    life.step()
    life.read(ok=False)
    life.finish()
    assert again.n_cached == 0


@each_kind
def test_who_leaves_while_it_waits_for_the_disk_leaves_nothing_behind(limits):
    before = Life(limits)
    first, _ = before.turn(text(100), n_output=20)
    life = Life(limits, before)
    again = life.add([*first.tokens, 7])
    life.step()
    assert any(isinstance(op, Fetch) for op in life.ops)
    life.scheduler.cancel(again.request_id)
    del life.sequences[again.request_id]
    life.read()
    life.scheduler.check()
    life.turn(text(5))
    assert life.scheduler.memory.shelf_bytes == life.backend.checkpoint_bytes


@each_kind
def test_two_who_wait_for_the_same_file_read_it_once(limits):
    before = Life(limits)
    first, _ = before.turn(text(100), n_output=20)
    life = Life(limits, before)
    for i in range(2):
        life.add([*first.tokens, *text(5, seed=i)])
    life.finish()
    assert sum(isinstance(op, Fetch) for op in life.ops) == 1
    assert max(s.n_cached for s in life.sequences.values()) == 119


class Prompt(list):
    """It counts how often it is read."""

    n_reads = 0

    def __getitem__(self, index):
        self.n_reads += 1
        return super().__getitem__(index)


@each_kind
def test_while_it_waits_for_the_disk_nothing_else_is_looked_for(limits):
    before = Life(limits)
    first, _ = before.turn(text(100), n_output=20)
    life = Life(limits, before)
    life.turn([*first.tokens[:40], *text(20, seed=7)])
    life.add(text(10, seed=8), n_output=40)
    again = life.add([*first.tokens, 7])
    life.step()
    again.tokens = prompt = Prompt(again.tokens)
    for _ in range(5):
        life.step()
    assert again.awaits_disk
    assert prompt.n_reads == 0
    life.finish()
    assert again.n_cached == 119


@pytest.mark.parametrize("kind", ["sliding", "hybrid"])
def test_what_was_read_for_who_cannot_come_in_yet_stays_until_he_can(kind):
    limits = replace(KINDS[kind], n_cells=600, n_ctx_seq=600)
    before = Life(limits)
    first, _ = before.turn(text(100), n_output=20)
    life = Life(limits, before)
    life.add(text(60, seed=9), n_output=300)
    again = life.add([*first.tokens, 7], n_output=300)
    for _ in range(50):
        life.step()
        life.read()
    assert again.state is State.WAITING
    assert not [op for op in life.ops if isinstance(op, RestoreAll)]
    life.finish()
    assert again.n_cached == again.n_loaded == 119
    assert len([op for op in life.ops if isinstance(op, Fetch)]) == 1


@each_kind
@pytest.mark.parametrize(
    "params", [GenerateParams(adapters=((1, 0.5),)), GenerateParams(cache_prompt=False)],
    ids=["adapters", "no cache"],
)  # fmt: skip
def test_adapters_and_requests_without_a_cache_are_given_nothing_from_disk(limits, params):
    before = Life(limits)
    first, _ = before.turn(text(100), n_output=20)
    life = Life(limits, before)
    life.backend.load_adapter(1, b"any")
    sequence = life.add([*first.tokens, 7])
    sequence.params = params
    life.finish()
    assert sequence.n_cached == 0
    assert not [op for op in life.ops if isinstance(op, Fetch)]


@each_kind
def test_what_was_computed_with_adapters_is_not_written(limits):
    life = Life(limits)
    life.backend.load_adapter(1, b"any")
    sequence = life.add(text(100), 20)
    sequence.params = GenerateParams(adapters=((1, 0.5),))
    life.finish()
    assert not life.backend.files


@with_cells
def test_cells_are_copied_out_while_nobody_runs(limits):
    life = Life(limits, pace=Pace(0.05))
    life.add(text(100), 20)
    life.add(text(50, seed=1), 60)
    while not life.scheduler.idle:
        life.step()
        assert not [op for op in life.ops if isinstance(op, SaveAll)]
    life.rest()
    assert len([op for op in life.ops if isinstance(op, SaveAll)]) == 4  # ends, and what was asked
    assert len([op for op in life.ops if isinstance(op, Store)]) == 4


@with_cells
@pytest.mark.parametrize(("byte_s", "n_cached"), [(1e-9, 119), (1.0, 0)])
def test_nothing_is_copied_back_that_would_hold_up_running_streams(limits, byte_s, n_cached):
    before = Life(limits)
    first, _ = before.turn(text(100), n_output=20)
    life = Life(limits, before, pace=Pace(0.05))
    life.turn(text(100, seed=7))
    life.scheduler.memory._byte_s = byte_s
    life.add(text(40, seed=8), 80)
    for _ in range(5):
        life.step()
    again = life.add([*first.tokens, 7])
    life.finish()
    assert again.n_cached == n_cached
    assert any(isinstance(op, RestoreAll) for op in life.ops) == bool(n_cached)


@pytest.mark.parametrize("seed", [3, 5, 9])
def test_who_makes_place_for_what_comes_back_takes_nobodys_checkpoint(seed):
    """Who makes place is copied out himself, where memory is tight: check() looks at the rest."""
    rng, limits = random.Random(seed), KINDS["sliding"]
    budget_bytes, n_aside = rng.randint(500, 2500), rng.choice((2, 3))
    cell_bytes = rng.choice((4, 10, 16))
    state = replace(limits.state, cell_bytes=cell_bytes, budget_bytes=budget_bytes)
    limits = replace(limits, n_ids=limits.n_seq_max + n_aside, n_cells=1200, state=state)
    before = Life(limits)
    said = [before.turn(text(rng.randint(60, 150), seed=i), 15)[0].tokens for i in range(4)]
    before.rest()
    life = Life(limits, before)
    for _ in range(10):
        if rng.random() < 0.5:
            life.turn(text(rng.randint(60, 150), seed=rng.randint(10, 99)), 10)
        else:
            life.add([*rng.choice(said), *text(5, seed=rng.randint(0, 99))], 5)
            life.finish()


def test_no_history_of_lives_loses_a_blob_a_file_a_cell_or_a_right_answer():
    for seed in range(60):
        _random_history(random.Random(seed), list(KINDS.values())[seed % len(KINDS)])


def _random_history(rng, limits):
    room = rng.choice((300, 2_000, ROOM))
    limits = random_limits(rng, limits, rng.choice((500, 2_000, 10_000)), disk_bytes=room)
    life, prompts = Life(limits), first_prompts()
    for _ in range(60):
        come_and_go(rng, life, prompts)
        for _ in range(rng.randint(0, 6)):
            life.step()
            if life.backend.fetches and rng.random() < 0.5:
                life.scheduler.memory.fetched(*life.backend.fetch(ok=rng.random() < 0.9))
        if rng.random() < 0.1:
            life.finish()
            life = Life(limits, life)
    life.finish()
