import os

import pytest

from edgellm.server.watch.contention import Others, cpu_s


def looked(rows, n_cpus=2):
    """`rows`: how busy the host is, and the worker's CPU seconds so far; one a second."""
    others = Others()
    return [others.look(float(i), busy, own_s, n_cpus) for i, (busy, own_s) in enumerate(rows)]


def test_what_the_worker_takes_is_not_others():
    assert looked([(1.0, 0.5 * i) for i in range(6)])[-1] == pytest.approx(0.75)
    assert looked([(1.0, 2.0 * i) for i in range(6)])[-1] == 0.0


def test_nothing_is_said_before_four_seconds_are_seen():
    assert [told is None for told in looked([(1.0, 0.0)] * 6)] == [True] * 4 + [False] * 2


def test_a_sensor_that_is_late_begins_nothing_anew():
    told = looked([(1.0, 0.5)] * 6 + [(None, 0.5), (1.0, 0.5), (None, 0.5), (1.0, 0.5)])
    assert told[5:] == [1.0, None, 1.0, None, 1.0]


def test_what_was_seen_long_ago_says_nothing_of_now():
    told = looked([(1.0, 0.5)] * 6 + [(None, 0.5)] * 10 + [(1.0, 0.5)] * 5)
    assert told[5:] == [1.0, *[None] * 14, 1.0]


@pytest.mark.parametrize("gap", [(1.0, None), (1.0, 0.0)])
def test_a_new_worker_begins_anew(gap):
    rows = [(1.0, 1.0)] * 6 + [gap] + [(1.0, 1.0)] * 3
    assert looked(rows)[5] == 1.0
    assert looked(rows)[6:] == [None] * 4


def test_a_process_has_cpu_time_and_none_of_nobody():
    assert cpu_s(os.getpid()) > 0
    assert cpu_s(None) is None
