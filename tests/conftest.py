"""Ctrl-C must mean in the tests what it means in a terminal: a shell starts a job in the background
with SIGINT ignored, and all that it starts inherits that."""

import signal


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
