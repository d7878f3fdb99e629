import io
import random
import zlib

import msgspec
import pytest
from msgspec import structs
from tui_samples import big, device, model, ordinary

from edgellm.errors import BadRequest
from edgellm.tui.told import recording
from edgellm.tui.told.recording import Reader, Recorder


class Disk(io.BytesIO):
    """Counts what was made sure of."""

    n_syncs = 0

    def fileno(self):
        return 7


def recorder(disk, **how):
    def sync(number):
        assert number == 7
        disk.n_syncs += 1

    return Recorder(disk, sync=sync, **how)


def second(i):
    """The same machine with other figures."""
    chance = random.Random(i)
    gpu = device(temperature_c=60 + 20 * chance.random(), power_w=90 + chance.gauss(0, 5))
    busy = model(decode_tok_s=30 + chance.random(), n_cells_used=i)
    return ordinary(uptime_s=float(i), models=(busy,), devices=(gpu,))


def recorded(n, **how):
    disk = Disk()
    made = recorder(disk, **how)
    for i in range(n):
        made.add(1000.0 + i, second(i))
    made.flush()
    return disk


def read(data):
    reader = Reader(io.BytesIO(data))
    return [(moment.at_s, moment.status) for moment in reader], reader.is_cut


@pytest.mark.parametrize("n", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_moments_replay_identically(n):
    disk = recorded(n, block_s=20.0)

    n_read = 0
    for moment in Reader(disk):
        assert moment.at_s == 1000.0 + n_read
        assert moment.status == second(n_read)
        n_read += 1
    assert n_read == n
    assert len(disk.getvalue()) < 100 * n, "bytes a moment"


def test_each_second_is_on_the_disk_before_the_next_begins():
    disk = Disk()
    made = recorder(disk)
    for i in range(40):
        made.add(i / 10, second(i))
        told, _ = read(disk.getvalue())
        assert i / 10 - (told[-1][0] if told else 0.0) <= 1.0
    assert disk.n_syncs >= 3


def test_a_file_that_was_cut_anywhere_replays_up_to_the_cut():
    whole = recorded(12, block_s=0.0).getvalue()
    everything, is_cut = read(whole)
    assert (len(everything), is_cut) == (12, False)

    for length in range(len("EDGELLM REC 1\n"), len(whole)):
        told, is_cut = read(whole[:length])
        assert told == everything[: len(told)]
        assert is_cut or length in _ends(whole)


def _ends(whole):
    """Where blocks end."""
    ends, at = [14], 14
    while at < len(whole):
        at += 9 + int.from_bytes(whole[at : at + 4], "little")
        ends.append(at)
    return ends


def test_a_byte_that_was_changed_ends_the_recording_there():
    whole = bytearray(recorded(12, block_s=0.0).getvalue())
    ends = _ends(whole)
    whole[ends[5] + 20] ^= 0xFF
    told, is_cut = read(bytes(whole))

    assert (len(told), is_cut) == (5, True)


def test_a_recording_goes_on_where_it_was_cut():
    disk = Disk(recorded(5, block_s=0.0).getvalue()[:-3])
    made = recorder(disk, block_s=0.0)
    made.add(2000.0, big())
    told, is_cut = read(disk.getvalue())

    assert [at_s for at_s, _ in told] == [1000.0, 1001.0, 1002.0, 1003.0, 2000.0]
    assert told[-1][1] == big()
    assert not is_cut


def test_something_else_is_no_recording_and_is_left_alone():
    disk = Disk(b"#!/bin/sh\n")
    with pytest.raises(BadRequest, match="no recording"):
        recorder(disk)
    assert disk.getvalue() == b"#!/bin/sh\n"


def test_a_block_that_would_fill_the_memory_is_not_unpacked():
    bomb = zlib.compress(bytes(65 << 20), 1)
    head = recording._BLOCK.pack(len(bomb), zlib.crc32(bomb), 0)
    assert read(recording.MAGIC + head + bomb) == ([], True)


def test_a_status_of_another_version_ends_it_and_does_not_fail():
    body = msgspec.msgpack.encode([[1.0, {"version": 5}]])
    packed, kind = recording._packed(body, b"")
    head = recording._BLOCK.pack(len(packed), zlib.crc32(packed), kind)
    assert read(recording.MAGIC + head + packed) == ([], True)


def test_what_is_unknown_stays_unknown():
    bare = structs.replace(ordinary(), energy=None, models=(), devices=())
    disk = Disk()
    made = recorder(disk, block_s=0.0)
    made.add(1.0, bare)
    assert read(disk.getvalue())[0] == [(1.0, bare)]
