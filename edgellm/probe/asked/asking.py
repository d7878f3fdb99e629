"""Ask something that may never answer, without ever waiting for it longer than we want.

Daemon threads and not a pool: one that hangs in the kernel can't be ended, and a pool's threads
would keep the program from ending.
"""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def ask(question: Callable[[], T], thread: str = "edgellm-probe") -> "Future[T]":
    """`result(timeout=…)` raises TimeoutError when there is no answer yet."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # so who gives it up can't end it either

    def work() -> None:
        try:
            future.set_result(question())
        except BaseException as error:  # noqa: BLE001 - handed on to who asked
            future.set_exception(error)

    Thread(target=work, name=thread, daemon=True).start()
    return future
