"""What holds for all tests."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

_MODULE = pytest.StashKey[Path]()  # of the model test before


def pytest_configure() -> None:
    """Ctrl-C must mean in the tests what it means in a terminal: a shell starts a job in the
    background with SIGINT ignored, and all that it starts inherits that. No way to a server on
    this machine leads through a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """The tests themselves stay, so that the collector needn't look through them."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """A backend and its parts hold one another, and a few hundred would wait for the collector,
    which knows nothing of the native memory behind them. What is still alive is set aside as long
    as the module lasts: a look through all that the tests before left behind takes longer than
    most of these tests."""
    result = yield  # and nothing holds the test's arguments any more
    if item.get_closest_marker("model"):
        if item.session.stash.get(_MODULE, None) != item.path:
            item.session.stash[_MODULE] = item.path
            gc.unfreeze()
        gc.collect()
        gc.freeze()
    return result
