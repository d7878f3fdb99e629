import pytest

from edgellm.runner.batch import Copy, Forget, Restore, RestoreAll, Resume, Trim
from edgellm.runner.kv.last_read import LastRead


class Streams:
    def __init__(self):
        self.held, self.n_reads = {0: "zero", 1: "one"}, 0

    def read(self, seq_id):
        self.n_reads += 1
        return self.held[seq_id]


def test_a_stream_is_read_once_for_all_who_copy_it():
    streams = Streams()
    last = LastRead(streams.read)
    for target in (2, 3):
        last.heed(Copy(0, target, 9))
        last.heed(Resume(7, target))
        last.heed(Trim(target, 9))
        assert last.of(0) == "zero"
    assert streams.n_reads == 1
    assert last.of(1) == "one"


@pytest.mark.parametrize(
    "op", [Forget(0), Copy(1, 0, 5), RestoreAll(7, 0, (1, 2)), Restore(7, 0, 5, (1,)), Resume(7, 0)]
)
def test_what_is_put_into_it_ends_that(op):
    streams = Streams()
    last = LastRead(streams.read)
    last.of(0)
    last.heed(op)
    streams.held[0] = "another"
    assert last.of(0) == "another"


def test_rows_end_it_for_all():
    streams = Streams()
    last = LastRead(streams.read)
    last.of(0)
    last.forget()
    streams.held[0] = "more"
    assert last.of(0) == "more"
