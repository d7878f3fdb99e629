"""Runs a question that may hang on a thread of its own, so that its asker can stop waiting.

Daemon threads, not a pool: a thread that hangs in the kernel can't be ended, and a pool's would
keep the program from exiting.
"""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def ask(question: Callable[[], T], thread: str = "edgellm-probe") -> "Future[T]":
    """Starts it at once; `thread` names the thread. The future's `result(timeout=s)` raises
    TimeoutError where there is no answer yet, and whatever the question raised."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # a running call can't be cancelled

    def work() -> None:
        try:
            future.set_result(question())
        except BaseException as error:  # noqa: BLE001 - handed on to who asked
            future.set_exception(error)

    Thread(target=work, name=thread, daemon=True).start()
    return future
