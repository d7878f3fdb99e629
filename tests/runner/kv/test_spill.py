"""What leaves the KV cells and what comes back, decided without llama.cpp."""

import random
from dataclasses import replace

import pytest
from runner_fakes import FakeBackend, answer

from edgellm.chat.messages import GenerateParams
from edgellm.runner.batch import Forget, Restore, Save, Store
from edgellm.runner.kv.memory import Limits
from edgellm.runner.kv.shelf import BlobSize
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

SIZE = BlobSize(base_bytes=0, cell_bytes=1)


def limits(n_cells=2048, shelf_bytes=100_000, n_parallel=4, n_retained=8, n_ctx_seq=1024, **more):
    return Limits(
        n_cells=n_cells, n_ctx_seq=n_ctx_seq, n_batch=512, n_seq_max=n_parallel, n_scratch=1,
        n_ids=n_parallel + 1 + n_retained, shares_prefixes=True, shelf_bytes=shelf_bytes, blob=SIZE,
        **more,
    )  # fmt: skip


class House:
    """A scheduler and its backend, with what was done."""

    def __init__(self, limits, pace=None):
        self.scheduler, self.backend = Scheduler(limits, pace), FakeBackend(limits)
        self.answers, self.ops, self.n_requests = {}, [], 0

    def ask(self, prompt, n_output=2, **params):
        sequence = Sequence(
            self.n_requests, list(prompt), len(prompt) + n_output, GenerateParams(**params)
        )
        self.answers[self.n_requests] = []
        self.n_requests += 1
        self.scheduler.add(sequence)
        return sequence

    def step(self):
        batch = self.scheduler.schedule()
        if batch is None:
            return None
        self.ops += batch.ops
        sampled = self.backend.decode(batch).sampled
        for output in self.scheduler.commit(batch, sampled):
            self.answers[output.sequence.request_id].append(output.token)
        self.scheduler.check()
        return batch

    def run(self, *prompts, n_output=2):
        """To the last answer, and then until there is nothing to tidy up."""
        asked = [self.ask(prompt, n_output) for prompt in prompts]
        while not self.scheduler.rests or self.backend.fetches:
            self.step()
            self.read()
        return asked

    def read(self, *, ok=True):
        """What is being read from disk comes."""
        while self.backend.fetches:
            self.scheduler.memory.fetched(*self.backend.fetch(ok=ok))

    def again(self, **more):
        """Another worker, on the same disk."""
        files = self.backend.files
        stored = tuple(one for one, _ in files.values())
        house = House(replace(self.backend.limits, stored=stored, **more))
        house.backend.files = files
        return house

    def done(self, kind):
        found = [op for op in self.ops if isinstance(op, kind)]
        self.ops = []
        return found


def text(first, n):
    return [first] + [3 + (first * 7 + i * i) % 40 for i in range(1, n)]


def test_what_ended_is_copied_out_while_nothing_runs_and_stays_where_it_is():
    house = House(limits())
    house.run(text(5, 600))
    saves = house.done(Save)
    assert [(op.start, op.end) for op in saves] == [(0, 256), (256, 512), (512, 601)]
    assert house.scheduler.memory.used == 601
    assert len(house.scheduler.memory.retained) == 1


def test_the_next_turn_of_the_only_conversation_moves_nothing():
    house = House(limits())
    (first,) = house.run(text(5, 600))
    house.done(Save)
    (second,) = house.run([*first.tokens, 44, 45])
    assert (second.n_cached, second.n_restored) == (601, 0)
    assert not [op for op in house.ops if isinstance(op, Restore)]
    assert [(op.start, op.end) for op in house.done(Save)] == [(601, 605)]


def test_whoever_is_idle_leaves_the_cells_when_another_ones_steps_would_look_at_them():
    house = House(limits())
    house.run(text(5, 600))
    house.ask(text(6, 100), 5)
    house.step()
    assert house.backend.n_kv == house.scheduler.memory.n_kv == 256
    assert len(house.scheduler.memory.retained) == 0


def test_who_comes_the_moment_another_ends_has_the_low_cells_too():
    house = House(limits())
    house.ask(text(5, 900))
    while not house.scheduler.idle:
        house.step()
    house.ask(text(6, 100), 5)
    house.step()
    assert house.backend.n_kv == 256
    house.run()
    assert house.run([*text(5, 900), 44], n_output=300)[0].n_cached == 900


def test_out_of_a_device_what_is_idle_is_copied_only_while_nothing_runs():
    house = House(limits(on_device=True), Pace(0.1, StepCosts({1: 0.001}, {512: 0.01})))
    house.ask(text(7, 20), 30)
    house.step()
    house.ask(text(5, 500), 1)
    for _ in range(20):
        house.step()
    assert not house.done(Save)
    house.run()
    assert sum(op.end - op.start for op in house.done(Save)) == 500 + 49
    house.ask(text(6, 100), 5)
    house.step()
    assert house.backend.n_kv == 256, "what is saved leaves at once"


def test_on_a_device_nobody_is_saved_to_keep_another_one():
    house = House(limits(on_device=True, n_retained=1), Pace(0.1))
    house.ask(text(7, 20), 60)
    house.step()
    for first in (5, 6):
        house.ask(text(first, 100), 1)
        for _ in range(10):
            house.step()
    assert not house.done(Save)
    assert len(house.scheduler.memory.retained) == 1


def test_whoever_is_in_nobodys_way_stays():
    house = House(limits())
    house.run(text(5, 100))
    house.ask(text(6, 50), 5)
    house.step()
    assert len(house.scheduler.memory.retained) == 1


def test_what_left_comes_back_and_is_not_computed_again():
    house = House(limits())
    (first,) = house.run(text(5, 600))
    house.run(text(6, 600))
    computed = house.backend.n_computed
    (again,) = house.run([*first.tokens, 44], n_output=3)
    assert house.answers[again.request_id] == answer([*first.tokens, 44], 3)
    assert (again.n_cached, again.n_restored) == (601, 601)
    assert house.backend.n_computed - computed == 2 + 2


def test_a_shared_edge_is_copied_once():
    house = House(limits(n_parallel=8, n_retained=16))
    root = text(5, 300)
    house.run(*([*root, *text(10 + i, 40)] for i in range(8)))
    saves = house.done(Save)
    assert sum(op.end - op.start for op in saves) == 300 + 8 * 41


def test_of_a_part_that_is_shared_with_what_left_only_that_part_comes_back():
    house = House(limits())
    house.run(text(5, 600))
    house.run(text(6, 600))
    computed = house.backend.n_computed
    (other,) = house.run([*text(5, 400), 44, 44], n_output=3)
    assert house.answers[other.request_id] == answer([*text(5, 400), 44, 44], 3)
    assert other.n_cached == 256  # the next edge is longer than all that it may ever hold
    assert house.backend.n_computed - computed == 146 + 2
    (longer,) = house.run([*text(5, 400), 44, 45], n_output=300)
    assert longer.n_cached == 401
    assert house.answers[longer.request_id] == answer([*text(5, 400), 44, 45], 300)


def test_a_follower_waits_for_what_its_leader_copies_back_and_shares_its_cells():
    house = House(limits())
    (first,) = house.run(text(5, 600))
    house.run(text(6, 600))
    house.done(Restore)
    asked = house.run(*([*first.tokens, 40 + i] for i in range(3)), n_output=3)
    assert sum(isinstance(op, Restore) for op in house.ops) == 3
    assert [s.n_cached for s in asked] == [601, 602, 602]


def test_several_answers_to_one_prompt_compute_it_once():
    house = House(limits())
    asked = house.run(*[text(5, 600)] * 4, n_output=3)
    assert [s.n_cached for s in asked] == [0, 599, 599, 599]
    assert house.backend.n_computed == 600 + 3 * 1 + 4 * 2


def test_without_cache_prompt_nothing_comes_back():
    house = House(limits())
    (first,) = house.run(text(5, 600))
    house.run(text(6, 600))
    sequence = house.ask([*first.tokens, 44], 3, cache_prompt=False)
    house.run()
    assert sequence.n_cached == 0


def test_beside_running_streams_copying_goes_in_pieces():
    pace = Pace(0.1)
    house = House(limits(), pace)
    house.ask(text(7, 20), 200)
    house.step()
    house.ask(text(5, 500), 1)
    while len(house.scheduler.running) + len(house.scheduler.waiting) > 1:
        house.step()
    house.done(Save)
    per_step = []
    for _ in range(40):
        house.step()
        per_step.append(sum(op.end - op.start for op in house.done(Save)))
        house.scheduler.memory.observe(per_step[-1] * 0.0002)  # 50 cells in 10 ms
    assert max(per_step[1:]) <= 50
    assert sum(per_step) == 500


def test_beside_short_steps_a_piece_waits_until_enough_of_them_have_passed():
    house = House(limits(), Pace(0.1, StepCosts({1: 0.002}, {512: 1.0})))
    house.run(text(9, 8))
    (saved,) = house.done(Save)
    house.scheduler.memory.observe(saved.end * 0.0002)
    house.ask(text(7, 20), 500)
    house.step()
    house.ask(text(5, 500), 1)
    while len(house.scheduler.running) + len(house.scheduler.waiting) > 1:
        house.step()
    house.done(Save)
    per_step = []
    for _ in range(400):
        house.step()
        per_step.append(sum(op.end - op.start for op in house.done(Save)))
    assert 100 <= sum(per_step) <= 0.03 * 400 * 10 + 16, "of 400 steps of 10 cells each"
    assert {n for n in per_step if n} == {16}


def test_beside_running_streams_copying_back_takes_a_part_of_the_pace():
    house = House(limits(), Pace(0.1))
    (first,) = house.run(text(5, 700))
    house.run(text(6, 700))
    house.ask(text(7, 20), 100)
    house.step()
    house.done(Restore)
    sequence = house.ask([*first.tokens, 44], 3)
    per_step = []
    while not sequence.n_output:
        ops = [op for op in house.step().ops if isinstance(op, Restore)]
        restored = [house.backend.blobs[op.blob] for op in ops]
        per_step.append(sum(len(tokens) - start for start, tokens in restored))
        house.scheduler.memory.observe(per_step[-1] * 0.0002)  # 150 cells in 30 ms
    assert sum(per_step) == 701
    assert max(per_step) < 150 + 64, "what is under way when the time is up is a piece"
    assert len(per_step) <= 6
    assert house.answers[sequence.request_id] == answer([*first.tokens, 44], 1)


@pytest.mark.parametrize(("n_more", "n_saved"), [(1, [0]), (40, range(16, 36)), (500, [293])])
def test_what_has_just_ended_takes_a_thirtieth_of_the_next_prompt_to_save(n_more, n_saved):
    """Its own next turn, mostly: it would be the one to wait."""
    house = House(limits(), Pace(0.1, StepCosts({1: 0.02}, {32: 0.2, 512: 2.0})))
    house.run(text(9, 8))
    (saved,) = house.done(Save)
    house.scheduler.memory.observe(saved.end * 0.0002)
    first = house.ask(text(5, 500), 2)
    while not house.scheduler.idle:
        house.step()
    house.done(Save)
    house.ask([*first.tokens[:490], *text(8, n_more)], 2)  # another answer than it got
    house.step()
    assert sum(op.end - op.start for op in house.done(Save)) in n_saved


def test_who_is_cancelled_while_it_waits_for_its_cells_leaves_nothing_behind():
    house = House(limits(), Pace(0.1))
    (first,) = house.run(text(5, 700))
    house.run(text(6, 700))
    house.ask(text(7, 20), 30)
    house.step()
    sequence = house.ask([*first.tokens, 44], 3)
    house.step()
    assert sequence.restoring
    house.scheduler.cancel(sequence.request_id)
    house.run()
    assert house.run([*first.tokens, 44])[0].n_cached == 701


def test_what_is_slower_to_copy_than_to_compute_is_computed():
    pace = Pace(0.1, StepCosts({1: 0.01}, {512: 0.0512}))
    house = House(limits(), pace)
    house.run(text(5, 600))
    house.scheduler.memory.observe(1.0)  # 600 cells: 1.7 ms each, where a row takes 0.1
    house.run(text(6, 600))
    (again,) = house.run([*text(5, 600), 44])
    assert again.n_restored == 0


@pytest.mark.parametrize("shelf_bytes", [0, 50])
def test_without_room_on_the_shelf_an_idle_conversation_stays_until_its_cells_are_needed(
    shelf_bytes,
):
    house = House(limits(n_cells=1024, shelf_bytes=shelf_bytes))
    house.run(text(5, 600))
    house.run(text(6, 100))
    assert len(house.scheduler.memory.retained) == 2
    house.run(text(7, 500))
    assert not [seq for seq in house.scheduler.memory.retained.by_id.values() if seq.tokens[0] == 5]


def test_who_needs_the_cells_of_the_idle_waits_until_they_are_copied():
    house = House(limits(n_cells=1024), Pace(0.1))
    house.ask(text(7, 20), 400)
    house.step()
    house.ask(text(5, 500), 2)
    while len(house.scheduler.running) + len(house.scheduler.waiting) > 1:
        house.step()
    waiting = house.ask(text(6, 500), 2)
    house.step()
    assert house.scheduler.waiting
    while house.scheduler.waiting:
        house.step()
    house.run()
    assert house.answers[waiting.request_id] == answer(text(6, 500), 2)
    assert house.run([*text(5, 500), 44])[0].n_restored > 400


def test_who_is_kept_out_for_want_of_cells_waits_a_part_of_the_pace_for_each_step():
    house = House(limits(n_cells=1024), Pace(0.1, StepCosts({1: 0.01}, {512: 0.5})))
    house.ask(text(7, 20), 400)
    house.step()
    house.ask(text(5, 500), 2)
    while len(house.scheduler.running) + len(house.scheduler.waiting) > 1:
        house.step()
    house.scheduler.memory.observe(sum(op.end - op.start for op in house.done(Save)) * 0.0002)
    house.ask(text(6, 500), 2)
    per_step = []
    while house.scheduler.waiting:
        house.step()
        per_step.append(sum(op.end - op.start for op in house.done(Save)))
        house.scheduler.memory.observe(per_step[-1] * 0.0002)
    assert max(per_step) <= 150 + 16, "30 ms of 100, and what goes unnoticed"
    assert len(per_step) <= 5


def test_forgotten_cells_are_filled_again_before_higher_ones():
    house = House(limits())
    house.run(text(5, 700))
    for first in range(6, 12):
        house.run(text(first, 600))
        assert house.backend.n_kv <= 768
    assert sum(isinstance(op, Forget) for op in house.ops) > 6


DISK = {"disk_bytes": 100_000}


def test_what_is_copied_out_is_written_to_disk():
    house = House(limits(**DISK))
    house.run(text(5, 600))
    assert [(op.stored.start, len(op.stored.tokens)) for op in house.done(Store)] == [
        (0, 256), (256, 256), (512, 89),
    ]  # fmt: skip
    assert house.scheduler.memory.disk_bytes == 601


def test_the_next_worker_goes_on_where_the_last_one_was():
    house = House(limits(**DISK))
    (first,) = house.run(text(5, 600))
    house = house.again()
    (second,) = house.run([*first.tokens, 44], n_output=3)
    assert (second.n_cached, second.n_restored, second.n_loaded) == (601, 601, 601)
    assert house.answers[second.request_id] == answer([*first.tokens, 44], 3)
    assert house.backend.n_computed == 2 + 2


def test_while_the_disk_reads_others_go_on():
    house = House(limits(**DISK))
    (first,) = house.run(text(5, 600))
    house = house.again()
    waiting, other = house.ask([*first.tokens, 44], 3), house.ask(text(6, 20), 3)
    for _ in range(5):
        house.step()
    assert house.answers[other.request_id] == answer(text(6, 20), 3)
    assert not waiting.n_computed
    assert house.scheduler.rests, "nothing is to be done before the disk has read"
    house.run()
    assert house.answers[waiting.request_id] == answer([*first.tokens, 44], 3)


def test_what_cannot_be_read_is_computed_again_and_nobody_asks_for_it_any_more():
    house = House(limits(**DISK))
    (first,) = house.run(text(5, 600))
    house = house.again()
    sequence = house.ask([*first.tokens, 44], 3)
    house.step()
    assert len(house.backend.fetches) == 3
    house.scheduler.memory.fetched(*house.backend.fetch())
    house.scheduler.memory.fetched(*house.backend.fetch(ok=False))
    house.run()
    assert (sequence.n_cached, sequence.n_loaded) == (256, 256)
    assert house.answers[sequence.request_id] == answer([*first.tokens, 44], 3)
    house.scheduler.check()
    house.run(text(7, 900))
    assert house.run([*first.tokens, 44], n_output=10)[0].n_cached == 602


@pytest.mark.parametrize("n_read", [0, 1, 2])
def test_what_cannot_be_read_goes_with_all_behind_it_once_nobody_waits_for_it(n_read):
    house = House(limits(**DISK))
    (first,) = house.run(text(5, 600))
    house = house.again()
    house.ask([*first.tokens, 44], 3)
    house.step()
    for _ in range(n_read):
        house.scheduler.memory.fetched(*house.backend.fetch())
    house.scheduler.memory.fetched(*house.backend.fetch(ok=False))
    house.read()
    house.step()
    assert len(house.scheduler.memory._spill.shelf) == n_read


def test_who_goes_while_the_disk_reads_for_him_leaves_nothing_behind():
    house = House(limits(**DISK))
    (first,) = house.run(text(5, 600))
    house = house.again()
    sequence = house.ask([*first.tokens, 44], 3)
    house.step()
    house.scheduler.cancel(sequence.request_id)
    house.run()
    assert house.run([*first.tokens, 44])[0].n_loaded == 0


def test_who_finds_no_room_to_read_into_waits_for_it_and_is_noted_once_it_reads():
    house = House(limits(n_cells=512, n_parallel=3, n_retained=1, n_ctx_seq=512, shelf_bytes=320,
                         **DISK))  # fmt: skip
    for first in (5, 6, 7):
        house.run(text(first, 300))
    house.ask(text(9, 40), 400)  # keeps the cells
    house.step()
    holder = house.ask([*text(5, 300), 44])
    waiting = house.ask([*text(6, 300), 44])
    house.step()
    house.read()
    for _ in range(5):
        house.step()
    assert holder.fetching
    assert not waiting.fetching
    house.scheduler.cancel(holder.request_id)
    house.step()
    assert waiting.fetching
    house.run()
    assert house.answers[waiting.request_id] == answer(waiting.tokens[:301], 2)


def test_memory_is_given_up_before_what_is_on_disk_too():
    house = House(limits(shelf_bytes=700, **DISK))
    (first,) = house.run(text(5, 600))
    house.run(text(6, 600))
    assert house.scheduler.memory.shelf_bytes <= 700
    assert house.scheduler.memory.disk_bytes == 1202
    (again,) = house.run([*first.tokens, 44], n_output=3)
    assert again.n_restored == 601
    assert again.n_loaded >= 500
    assert house.answers[again.request_id] == answer([*first.tokens, 44], 3)


def test_the_disk_is_bounded():
    house = House(limits(disk_bytes=1000))
    for first in range(5, 9):
        house.run(text(first, 400))
    assert house.scheduler.memory.disk_bytes <= 1000
    assert sum(one.n_bytes for one, _ in house.backend.files.values()) <= 1000


def test_files_without_a_way_from_the_root_are_erased():
    house = House(limits(**DISK))
    house.run(text(5, 600))
    root = next(key for key, (one, _) in house.backend.files.items() if not one.start)
    del house.backend.files[root]
    house = house.again()
    house.run(text(6, 10))
    assert [one.start for one, _ in house.backend.files.values()] == [0]


def test_what_an_adapter_changed_is_not_written():
    house = House(limits(**DISK))
    house.backend.load_adapter(1, b"good")
    house.ask(text(5, 600), 2, adapters=((1, 0.5),))
    house.run()
    assert house.done(Save)
    assert not house.done(Store)


def test_no_history_loses_a_cell_a_blob_or_a_right_answer():
    for seed in range(60):
        _random_history(random.Random(seed))


def _random_history(rng):
    house = House(
        limits(
            n_cells=rng.choice((512, 1024)), n_ctx_seq=400, n_retained=rng.choice((1, 4, 12)),
            shelf_bytes=rng.choice((0, 300, 1000, 10_000)),
            disk_bytes=rng.choice((0, 500, 3000)),
        ),
        Pace(rng.choice((None, 0.1))),
    )  # fmt: skip
    wanted, prompts = {}, [[5], [6, 7], text(8, 200)]
    for _ in range(25):
        if rng.random() < 0.7:
            base = rng.choice(prompts)[: rng.randint(1, 300)]
            prompt = base + [rng.randint(3, 49) for _ in range(rng.randint(0, 60))]
            n_output = rng.randint(1, 30)
            sequence = house.ask(prompt, n_output, cache_prompt=rng.random() < 0.9)
            wanted[sequence.request_id] = answer(prompt, n_output)
            prompts.append(prompt + wanted[sequence.request_id])
        if rng.random() < 0.1 and wanted:
            victim = rng.choice(list(wanted))
            if house.scheduler.cancel(victim):
                del wanted[victim]
        if rng.random() < 0.3:
            house.read(ok=rng.random() < 0.8)
        for _ in range(rng.choice((0, 1, 4, 40))):
            house.step()
            house.scheduler.memory.observe(rng.choice((0.0001, 0.01)))
            assert house.scheduler.memory.n_kv == house.backend.n_kv or _has_left(house)
    house.run()
    assert {i: house.answers[i] for i in wanted} == wanted
    if spill := house.scheduler.memory._spill:
        assert not [edge for edge in spill.shelf._edges.values() if edge.broken]
    house.scheduler.memory.relieve()


def _has_left(house):
    """Somebody ended in this step: the backend hears of it with the next batch."""
    return bool(house.scheduler._ops)
