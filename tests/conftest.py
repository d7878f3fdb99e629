"""What holds for all tests."""

import gc
import signal

import pytest


def pytest_configure() -> None:
    """Ctrl-C must mean in the tests what it means in a terminal: a shell starts a job in the
    background with SIGINT ignored, and all that it starts inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """The tests themselves stay, so that the collector needn't look through them."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _models_are_freed(request: pytest.FixtureRequest) -> object:
    """A backend and its parts hold one another, and a few hundred would wait for the collector,
    which knows nothing of the native memory behind them."""
    yield
    if request.node.get_closest_marker("model"):
        gc.collect()
