from dataclasses import replace

import pytest

from edgellm.runner.batch import Discard, Erase, Fetch, Store
from edgellm.runner.kv.archive import Archive
from edgellm.runner.kv.memory import Limits
from edgellm.runner.kv.prefix_file import Stored, chain_key
from edgellm.runner.sequence import Sequence

LIMITS = Limits(n_cells=1000, n_ctx_seq=1000, n_batch=64, n_seq_max=4, disk_bytes=100)
TALK = [*range(100)]


class Memory:
    def __init__(self, room_bytes=1000):
        self.room_bytes, self.n_blobs = room_bytes, 0

    def new_blob(self):
        self.n_blobs += 1
        return self.n_blobs

    def hold(self, n_bytes):
        if n_bytes > self.room_bytes:
            return False
        self.room_bytes -= n_bytes
        return True

    def let_go(self, n_bytes):
        self.room_bytes += n_bytes


def archive(limits=LIMITS, memory=None):
    memory, ops = memory or Memory(), []
    made = Archive(limits, ops, new_blob=memory.new_blob, hold=memory.hold, let_go=memory.let_go)
    return made, ops, memory


class Prompt(list):
    """It counts how often it is read."""

    n_reads = 0

    def __getitem__(self, index):
        self.n_reads += 1
        return super().__getitem__(index)


def stored(tokens, n_bytes=10):
    name = chain_key(b"", tokens)
    return Stored(chain_key(name, ()), name, len(tokens), (), n_bytes)


def asks(tokens):
    return Sequence(0, list(tokens), len(tokens) + 4)


def test_the_longest_file_that_a_prompt_goes_on_from_is_found():
    made, _, _ = archive()
    made.put(TALK[:50], 7, 10)
    made.put(TALK[:90], 8, 10, spared=50)
    assert made.find(asks(TALK), 0).length == 90
    assert made.find(asks(TALK[:90]), 0).length == 50  # a prompt's last token is always computed
    assert made.find(asks([*TALK[:89], 5, 6]), 0).length == 50
    assert made.find(asks([5, *TALK]), 0) is None
    assert made.find(asks(TALK), 70) is None  # twenty tokens are computed sooner than read


def test_a_prompt_that_waits_is_looked_up_again_only_when_the_files_have_changed():
    made, _, _ = archive()
    made.put(TALK[:40], 7, 10)
    sequence = asks(TALK)
    sequence.tokens = prompt = Prompt(TALK)
    assert [made.find(sequence, n_here).length for n_here in (0, 0, 5)] == [40, 40, 40]
    assert made.find(sequence, 30) is None
    assert prompt.n_reads == 1
    made.put(TALK[:90], 8, 10)
    assert [made.find(sequence, n_here).length for n_here in (0, 0)] == [90, 90]
    assert prompt.n_reads == 2
    made.must_fetch(sequence, 0)
    made.fetched(1, ok=False)
    assert made.find(sequence, 0) is None
    made.stop_waiting(sequence)
    made.check()


def test_what_is_not_spared_is_replaced_by_a_longer_file():
    made, ops, _ = archive()
    made.put(TALK[:40], 7, 10)
    made.put(TALK[:50], 8, 10, spared=40)
    made.put(TALK, 9, 10, spared=40)
    assert [op for op in ops if isinstance(op, Erase)] == [Erase(stored(TALK[:50]).key)]
    assert [op.stored for op in ops if isinstance(op, Store)][2] == stored(TALK)
    made.check()


def test_what_is_larger_than_the_folder_replaces_nothing():
    made, ops, _ = archive()
    made.put(TALK[:50], 7, 10)
    made.put(TALK, 8, 101)
    assert [type(op) for op in ops] == [Store]


def test_what_lay_there_before_is_bounded_too_and_stretches_of_cells_are_erased():
    cells = Stored(chain_key(b"", (1, 2)), b"", 0, (1, 2), 10)
    old = [stored(TALK[: 40 + i], 40) for i in range(3)]
    made, ops, _ = archive(replace(LIMITS, stored=(cells, *old)))
    assert ops == [Erase(cells.key), Erase(old[0].key)]
    assert made.used_bytes == 80
    made.check()


def test_a_file_is_read_once_for_all_who_wait_and_given_to_one():
    made, ops, memory = archive()
    made.put(TALK[:50], 7, 10)
    first, second = asks(TALK), asks(TALK)
    assert made.must_fetch(first, 0)
    assert made.must_fetch(second, 0)
    assert [op for op in ops if isinstance(op, Fetch)] == [Fetch(1, stored(TALK[:50]).key)]
    made.fetched(1, ok=True)
    assert not made.must_fetch(first, 0)
    assert made.hand_over(made.arrived(first, 0)) == 1
    made.stop_waiting(first)
    assert made.arrived(second, 0) is None
    made.stop_waiting(second)
    made.check()
    assert memory.room_bytes == 1000
    assert not [op for op in ops if isinstance(op, Discard)]


def test_what_nobody_waits_for_any_longer_is_let_go():
    made, ops, memory = archive()
    made.put(TALK[:50], 7, 10)
    for is_late in (True, False):
        sequence = asks(TALK)
        made.must_fetch(sequence, 0)
        blob = ops[-1].blob
        if is_late:
            made.stop_waiting(sequence)
        made.fetched(blob, ok=True)
        made.stop_waiting(sequence)
        assert ops[-1] == Discard(blob)
        assert memory.room_bytes == 1000
        made.check()


@pytest.mark.parametrize("room_bytes", [100, 15], ids=["it is replaced", "there is no room"])
def test_a_file_stays_while_it_is_read_even_if_nobody_waits_for_it(room_bytes):
    made, ops, memory = archive(replace(LIMITS, disk_bytes=room_bytes))
    made.put(TALK[:50], 7, 10)
    sequence = asks(TALK)
    made.must_fetch(sequence, 0)
    made.stop_waiting(sequence)
    made.put(TALK, 8, 10)
    made.check()
    assert not [op for op in ops if isinstance(op, Erase)]
    made.fetched(1, ok=False)
    made.check()
    assert [op for op in ops if isinstance(op, Erase)] == [Erase(stored(TALK[:50]).key)]
    assert memory.room_bytes == 1000


def test_a_file_that_cannot_be_read_is_not_found_again():
    made, ops, memory = archive()
    made.put(TALK[:50], 7, 10)
    sequence = asks(TALK)
    made.must_fetch(sequence, 0)
    made.fetched(1, ok=False)
    assert isinstance(ops[-1], Erase)
    assert not made.must_fetch(sequence, 0)
    assert made.arrived(sequence, 0) is None
    made.stop_waiting(sequence)
    assert made.find(sequence, 0) is None
    assert memory.room_bytes == 1000


def test_without_memory_to_read_it_into_nothing_is_fetched():
    made, ops, _ = archive(memory=Memory(5))
    made.put(TALK[:50], 7, 10)
    assert not made.must_fetch(asks(TALK), 0)
    assert not [op for op in ops if isinstance(op, Fetch)]
