import os
import stat
import sys
import time
from threading import Event, get_native_id

import pytest

from edgellm.runner.kv.prefix_file import Stored, chain_key
from edgellm.runner.prefix_disk import PrefixDisk

BLOB = memoryview(bytes(range(250)) * 4)


def stored(*tokens, parent=b"", start=0):
    return Stored(chain_key(parent, tokens), parent, start, tokens, BLOB.nbytes)


def disk(folder, room_bytes=1 << 20, model=b"model", **bounds):
    return PrefixDisk(folder, room_bytes, model, **bounds)


def kept(folder, *files, **of):
    one = disk(folder, **of)
    for file in files:
        one.store(file, BLOB)
    one.close()
    return one


def read(one, key):
    came = []
    one.fetch(7, key, lambda *told: came.append(told))
    one.close()
    ((number, blob, elapsed_s),) = came
    assert number == 7
    assert elapsed_s >= 0
    return blob


def files(folder):
    return [path for path in folder.glob("*/*") if path.suffix == ".kv"]


def test_what_was_stored_is_found_and_read_by_the_next_worker(tmp_path):
    root = stored(1, 2)
    leaf = stored(3, parent=root.key, start=2)
    kept(tmp_path, root, leaf)
    again = disk(tmp_path)
    assert set(again.scan()) == {root, leaf}
    assert read(again, leaf.key) == BLOB


def test_nobody_else_can_read_the_secret_or_the_cells(tmp_path):
    kept(tmp_path, stored(1))
    for path in (tmp_path / "key", *files(tmp_path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_model_finds_nothing(tmp_path):
    kept(tmp_path, stored(1))
    other = disk(tmp_path, model=b"other")
    assert other.scan() == ()
    assert read(other, stored(1).key) is None


def test_a_changed_file_is_not_read(tmp_path):
    kept(tmp_path, stored(1))
    (path,) = files(tmp_path)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    assert read(disk(tmp_path), stored(1).key) is None


def test_a_file_under_another_name_is_erased(tmp_path):
    kept(tmp_path, stored(1))
    (path,) = files(tmp_path)
    path.rename(path.with_name(stored(2).key.hex() + ".kv"))
    again = disk(tmp_path)
    assert read(again, stored(2).key) is None
    assert disk(tmp_path).scan() == ()
    assert not files(tmp_path)


def test_what_was_cut_short_is_erased_at_the_next_start(tmp_path):
    kept(tmp_path, stored(1), stored(2), stored(3))
    cut, gone, _ = files(tmp_path)
    cut.write_bytes(cut.read_bytes()[:-40])
    gone.write_bytes(b"")
    (gone.parent / "half.123").write_bytes(b"written when the power went")
    assert len(disk(tmp_path).scan()) == 1
    assert len(list(gone.parent.iterdir())) == 1


def test_with_another_secret_everything_is_computed_again(tmp_path):
    kept(tmp_path, stored(1))
    (tmp_path / "key").unlink()
    assert disk(tmp_path).scan() == ()


def test_what_was_read_last_comes_last(tmp_path):
    kept(tmp_path, stored(1), stored(2))
    for path in files(tmp_path):
        os.utime(path, (0, time.time() - 100))
    assert read(disk(tmp_path), stored(1).key) is not None
    assert disk(tmp_path).scan() == (stored(2), stored(1))


def test_the_oldest_files_of_other_models_make_room(tmp_path):
    kept(tmp_path, stored(1), stored(2), model=b"other")
    old = tmp_path.glob(f"*/{stored(1).key.hex()}.kv")
    os.utime(next(old), (0, 0))
    one = disk(tmp_path, room_bytes=3000)
    assert [path.stem for path in files(tmp_path)] == [stored(2).key.hex()]
    assert 1500 < one.room_bytes < 2000


def test_what_other_models_workers_were_killed_writing_makes_room_too(tmp_path):
    kept(tmp_path, stored(1), model=b"other")
    (whole,) = files(tmp_path)
    half = whole.with_suffix(".4711")
    half.write_bytes(bytes(100_000))
    one = disk(tmp_path, room_bytes=100_000)
    assert not half.exists()
    assert one.room_bytes >= 50_000


def test_a_file_that_another_worker_erases_meanwhile_costs_nothing(tmp_path):
    kept(tmp_path, stored(1), model=b"other")
    (whole,) = files(tmp_path)
    whole.with_stem("a" * 64).symlink_to("gone")  # found, and not there when it is asked
    kept(tmp_path, stored(2))
    assert read(disk(tmp_path), stored(2).key) == BLOB


def test_two_models_at_the_same_time_have_a_bound_each(tmp_path):
    one, other = disk(tmp_path, 10_000, b"one"), disk(tmp_path, 10_000, b"other")
    assert (one.room_bytes, other.room_bytes) == (10_000, 10_000)
    one.close()
    other.close()


def test_nothing_of_anybody_elses_is_touched_in_a_folder_that_is_not_ours_alone(tmp_path):
    others = [
        tmp_path / "photos" / "a.jpg",
        tmp_path / "photos" / "a.kv",
        tmp_path / ("a" * 32) / "b",
    ]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 5000)
    kept(tmp_path, stored(1), room_bytes=100)
    disk(tmp_path, room_bytes=100, model=b"other").scan()
    assert all(path.exists() for path in others)


def test_a_secret_that_was_cut_short_is_not_used(tmp_path):
    kept(tmp_path, stored(1))
    (tmp_path / "key").write_bytes(b"")
    with pytest.raises(OSError, match="0 bytes, 32 are wanted"):
        disk(tmp_path)


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o644])
def test_a_secret_that_others_know_or_could_have_put_there_is_not_used(tmp_path, mode):
    key = tmp_path / "key"
    key.write_bytes(b"A" * 32)
    key.chmod(mode)
    with pytest.raises(OSError, match=rf"others may read or write .*mode {mode:04o}.*chmod go="):
        disk(tmp_path)
    key.chmod(0o600)
    disk(tmp_path).close()


def test_a_secret_is_no_link(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"A" * 32)
    (tmp_path / "elsewhere").chmod(0o600)
    (tmp_path / "key").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        disk(tmp_path)


def test_the_folder_is_made_for_its_user_alone(tmp_path):
    before = os.umask(0o002)
    try:
        kept(tmp_path / "new" / "prefixes", stored(1))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "prefixes").stat().st_mode) == 0o700


def test_a_folder_in_which_others_may_write_is_refused(tmp_path):
    tmp_path.chmod(0o775)
    with pytest.raises(OSError, match=r"others may write in .*mode 0775.*chmod go-w"):
        disk(tmp_path)
    assert not [*tmp_path.rglob("*key*")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path):
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(OSError, match="belongs to the user 12345, not to 0"):
        disk(tmp_path)


def test_making_a_secret_leaves_nothing_else(tmp_path):
    disk(tmp_path).close()
    assert [path.name for path in tmp_path.glob("key*")] == ["key"]


def test_a_disk_that_is_full_costs_nothing_but_the_file(tmp_path):
    one = disk(tmp_path)
    (tmp_path / one._folder.name).rmdir()
    one.store(stored(1), BLOB)
    assert read(one, stored(1).key) is None


def test_a_file_that_there_is_no_memory_for_is_told_to_be_none(tmp_path):
    large = Stored(chain_key(b"", (1,)), b"", 0, (1,), 1 << 62)
    one = disk(tmp_path)
    one._path(large.key).write_bytes(one._seal.head(large))
    assert read(one, large.key) is None


def test_erasing_comes_after_what_is_still_to_be_written(tmp_path):
    one = disk(tmp_path)
    one.store(stored(1), BLOB)
    one.erase(stored(1).key)
    one.close()
    assert not files(tmp_path)


def test_of_what_is_to_be_written_one_file_may_be_larger_than_the_bound_and_no_second_one(tmp_path):
    one, goes_on = disk(tmp_path, most_pending_bytes=BLOB.nbytes - 1), Event()
    one._writers.submit(goes_on.wait)
    for file in (stored(1), stored(2)):
        one.store(file, BLOB)
    goes_on.set()
    one.close()
    assert disk(tmp_path).scan() == (stored(1),)


def test_what_is_long_to_write_or_to_check_is_told_while_it_lasts(tmp_path):
    one, goes_on, seen = disk(tmp_path, long_bytes=2 * BLOB.nbytes), Event(), []
    one._writers.submit(goes_on.wait)
    one.store(stored(1), BLOB)
    assert one.n_computing == 0, "a short one"
    one.store(stored(2), BLOB)
    assert one.n_computing == 1, "two are no longer short"
    goes_on.set()
    one.close()
    assert one.n_computing == 0

    again = disk(tmp_path, long_bytes=BLOB.nbytes)
    check = again._seal.check_payload

    def looking(*args):
        seen.append(again.n_computing)
        check(*args)

    again._seal.check_payload = looking
    assert read(again, stored(1).key) == BLOB
    assert (seen, again.n_computing) == ([1], 0)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux")
def test_who_writes_yields_to_the_loop_and_who_reads_for_somebody_does_not(tmp_path):
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, get_native_id())

    one = disk(tmp_path)
    written, read_ = (pool.submit(niceness).result() for pool in (one._writers, one._readers))
    one.close()
    assert written > niceness() == read_


def test_a_file_that_is_still_to_be_written_is_read_after_that(tmp_path):
    one, goes_on, came = disk(tmp_path), Event(), {}
    one._writers.submit(goes_on.wait)
    one.store(stored(1), BLOB)
    one.fetch(1, stored(1).key, lambda number, blob, _: came.update({number: blob}))
    one.fetch(2, stored(2).key, lambda *_: goes_on.set())  # readers don't wait for the writer
    assert goes_on.wait(60)
    one.close()
    assert came == {1: BLOB}
