import errno
import fcntl
import multiprocessing
import stat

import pytest

from edgellm.meter.usage import diary as module
from edgellm.meter.usage.counts import Day, Use
from edgellm.meter.usage.diary import Diary


def day(n_requests=1):
    return Day(keys={"anna": {"tiny": Use(n_requests=n_requests)}})


def n_requests(found):
    return found.keys["anna"]["tiny"].n_requests


@pytest.fixture
def diary(tmp_path):
    return Diary(tmp_path / "state" / "usage", 3)


def test_what_is_new_is_added_to_what_is_there(diary, tmp_path):
    assert n_requests(diary.add("2026-11-01", day(2))) == 2
    again = Diary(tmp_path / "state" / "usage", 3)  # after a restart
    assert n_requests(again.add("2026-11-01", day(3))) == 5
    assert n_requests(diary.read("2026-11-01")) == 5
    assert diary.read("2026-11-02") == Day()


def test_nobody_else_can_read_it(diary, tmp_path):
    diary.add("2026-11-01", day())
    assert stat.S_IMODE((tmp_path / "state" / "usage").stat().st_mode) == 0o700


def test_so_many_days_are_kept_and_the_oldest_goes(diary):
    for i in range(1, 6):
        diary.add(f"2026-11-0{i}", day())
    assert diary.days() == ["2026-11-03", "2026-11-04", "2026-11-05"]
    assert [*diary.between("2026-11-04", "2026-11-04")] == ["2026-11-04"]


def test_a_clock_that_is_set_back_does_not_have_the_day_removed_that_it_is_now(tmp_path):
    diary = Diary(tmp_path, 1)
    diary.add("2026-11-29", day())
    assert [n_requests(diary.add("2026-11-28", day())) for _ in range(3)] == [1, 2, 3]
    assert diary.days() == ["2026-11-28"]


def test_who_only_reads_moves_no_file_that_another_may_have_mended_meanwhile(diary, tmp_path):
    folder = tmp_path / "state" / "usage"
    folder.mkdir(parents=True)
    path = folder / "2026-11-01.json"
    path.write_bytes(b"{")
    assert diary.read("2026-11-01") == Day()
    assert diary.between("2026-11-01", "2026-11-01") == {"2026-11-01": Day()}
    assert [*folder.iterdir()] == [path]


def test_an_old_day_that_can_not_go_is_no_reason_to_count_the_new_one_twice(diary, tmp_path):
    (tmp_path / "state" / "usage" / "2000-01-01.json").mkdir(parents=True)
    for i in range(1, 5):
        assert n_requests(diary.add(f"2026-11-0{i}", day())) == 1


def test_a_clock_that_leaps_ahead_for_a_moment_costs_one_day_and_not_all(diary):
    for i in range(1, 4):
        diary.add(f"2026-11-0{i}", day())
    diary.add("2099-01-01", day())
    assert diary.days() == ["2026-11-02", "2026-11-03", "2099-01-01"]


def test_a_folder_that_is_not_there_has_no_days(diary):
    assert diary.days() == []
    assert diary.between("0001-01-01", "9999-12-31") == {}


@pytest.mark.parametrize(
    "junk",
    [b"", b"{", b"[]", b'{"keys": 3}', b"\xff\xfe", b"[" * 100_000, b'{"keys":{"a":{"b":7}}}'],
)
def test_a_file_that_is_none_is_set_aside_and_said(diary, tmp_path, junk):
    folder = tmp_path / "state" / "usage"
    folder.mkdir(parents=True)
    (folder / "2026-11-01.json").write_bytes(junk)
    assert n_requests(diary.add("2026-11-01", day())) == 1
    assert (folder / "2026-11-01.unreadable").read_bytes() == junk
    assert "2026-11-01.json could not be read" in diary.complaint
    assert diary.days() == ["2026-11-01"]


def test_a_full_disk_leaves_what_was_there(diary, monkeypatch, tmp_path):
    diary.add("2026-11-01", day(2))

    def full(path, data):
        raise OSError(errno.ENOSPC, "no space left on device", str(path))

    monkeypatch.setattr(module, "write_durably", full)
    with pytest.raises(OSError, match="no space left"):
        diary.add("2026-11-01", day(3))
    assert n_requests(diary.read("2026-11-01")) == 2


def test_who_was_stopped_with_the_lock_in_hand_holds_nobody_up_for_ever(
    diary, tmp_path, monkeypatch
):
    diary.add("2026-11-01", day(2))
    monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
    with (tmp_path / "state" / "usage" / "lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            diary.add("2026-11-01", day(3))
    assert n_requests(diary.add("2026-11-01", day(3))) == 5


def test_a_file_of_somebody_elses_is_left_alone(diary, tmp_path):
    diary.add("2026-11-01", day())
    (tmp_path / "state" / "usage" / "0000.json").write_text("mine")
    for i in range(2, 6):
        diary.add(f"2026-11-0{i}", day())
    assert (tmp_path / "state" / "usage" / "0000.json").read_text() == "mine"
    assert len(diary.days()) == 3


def _add_often(folder):
    for _ in range(50):
        Diary(folder, 3).add("2026-11-01", day())


def test_two_servers_lose_nothing_of_one_anothers(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add_often, args=(tmp_path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert n_requests(Diary(tmp_path, 3).read("2026-11-01")) == 100
