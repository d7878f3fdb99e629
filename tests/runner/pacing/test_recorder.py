import pytest

from edgellm.runner.batch import Batch, Forget, Row, Start, Stop
from edgellm.runner.pacing.recorder import NativeTimes, Recorder


def rows(*seq_ids):
    return tuple(Row(seq_id, 0, 5, wants_logits=True) for seq_id in seq_ids)


def note(recorder, step, batch, times, **facts):
    known = {
        "start_s": 10.0, "end_s": 10.5, "n_waiting": 0, "n_cells_used": 0, "n_kv": None,
        "n_cached": 0, **facts
    }  # fmt: skip
    recorder.add(step, batch, times, **known)


def test_what_is_not_native_is_what_is_left_of_the_wall_time():
    recorder = Recorder()
    note(recorder, 1, Batch((), rows(0), 0), NativeTimes(0.1, 0.25, 0.05))
    (record,) = recorder.last(9)
    assert record.wall_s == 0.5
    assert abs(record.other_s - 0.1) < 1e-9


def test_rows_are_told_by_kind_and_memory_operations_without_samplers():
    recorder = Recorder()
    ops = (Start(2, 7, None, (5,)), Forget(1), Stop(1))
    note(recorder, 4, Batch(ops, rows(0, 1, 2, 2, 2), 3), NativeTimes(), n_waiting=6, n_cached=40)
    (record,) = recorder.last(9)
    assert (record.step, record.n_decode, record.n_prompt, record.n_sequences) == (4, 2, 3, 3)
    assert (record.n_ops, record.n_waiting, record.n_cached) == (1, 6, 40)


def test_rows_of_guesses_are_told_apart_from_those_that_continue_an_answer():
    recorder = Recorder()
    note(recorder, 1, Batch((), rows(0, 0, 0, 1), 0), NativeTimes(), n_kv=256)
    (record,) = recorder.last(9)
    assert (record.n_decode, record.n_draft, record.n_kv) == (2, 2, 256)


def test_the_oldest_goes_when_it_is_full_and_the_newest_come_last():
    recorder = Recorder(3)
    for step in range(5):
        note(recorder, step, Batch((), rows(0), 0), NativeTimes())
    assert [record.step for record in recorder.last(1000)] == [2, 3, 4]
    assert [record.step for record in recorder.last(2)] == [3, 4]
    assert recorder.last(0) == ()


def test_masks_are_told_apart_and_those_that_outlasted_a_device_too():
    recorder = Recorder()
    times = NativeTimes(0.0, 0.05, 0.02, mask_s=0.01, late_mask_s=0.03)
    note(recorder, 1, Batch((), rows(0), 0), times)
    (record,) = recorder.last(1)
    assert (record.mask_s, record.late_mask_s) == (0.01, 0.03)
    assert record.other_s == pytest.approx(0.5 - 0.07)
