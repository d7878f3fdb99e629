"""What left the KV cells, on disk: written, read by the next worker, given up."""

import pytest
from runner_fakes import answer
from spill_runs import House, limits, text

from edgellm.runner.batch import Save, Store

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
    assert house.scheduler.is_at_rest, "nothing is to be done before the disk has read"
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
