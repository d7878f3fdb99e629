"""The thread that loads adapters: each is answered, whatever comes of it."""

import os
import queue
import sys
import threading

import pytest

from edgellm.errors import BadGGUF
from edgellm.runner.messages import LoadAdapter
from edgellm.runner.threads.adapter_loading import AdapterLoading


def loaded(load, *paths):
    told = queue.SimpleQueue()
    loading = AdapterLoading(load, told.put)
    for i, path in enumerate(paths):
        loading.add(LoadAdapter(i, 10 + i, path))
    return [told.get(timeout=60) for _ in paths]


def test_adapters_are_loaded_in_order_on_another_thread():
    seen = []

    def load(adapter_id, path):
        seen.append((adapter_id, path, threading.get_ident()))

    answers = loaded(load, b"a", b"b")
    assert [one.request_id for one in answers] == [0, 1]
    assert all(one.error is None for one in answers)
    assert [one[:2] for one in seen] == [(10, b"a"), (11, b"b")]
    assert threading.get_ident() not in {one[2] for one in seen}


@pytest.mark.parametrize("fault", [BadGGUF("it is bad"), ZeroDivisionError("it is bad")])
def test_what_can_not_be_loaded_is_told_and_the_next_one_loaded(fault):
    def load(adapter_id, path):
        if path == b"bad":
            raise fault

    bad, good = loaded(load, b"bad", b"good")
    assert isinstance(bad.error, BadGGUF)
    assert "it is bad" in str(bad.error)
    assert good.error is None


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux")
def test_the_thread_yields_to_the_loops():
    nice = []

    def load(adapter_id, path):
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    loaded(load, b"a")
    assert nice[0] > os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_what_has_not_begun_when_the_worker_ends_never_does():
    may, seen = threading.Event(), []

    def load(adapter_id, path):
        assert may.wait(60)
        seen.append(path)

    loading = AdapterLoading(load, lambda told: None)
    for i in range(20):
        loading.add(LoadAdapter(i, i, b"a"))
    loading.close()
    may.set()
    loading._pool.shutdown()
    assert len(seen) <= 1
