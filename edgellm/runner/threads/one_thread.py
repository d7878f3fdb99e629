"""A thread beside the loop's, which does one piece of work after the other."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

_NICER, _NICEST = 10, 19


class OneThread:
    def __init__(self, *, is_nicer: bool = False) -> None:
        """`is_nicer`: on a busy machine it gets only what the loop's thread leaves."""
        self._pool = ThreadPoolExecutor(1, initializer=yield_to_the_loop if is_nicer else None)

    def close(self) -> None:
        """Work that has not begun is dropped: Python would do all of it before the process ends."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def yield_to_the_loop() -> None:
    """Threads that this one starts, such as an encoder's own, inherit its niceness."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        nice = os.getpriority(os.PRIO_PROCESS, thread) + _NICER
        os.setpriority(os.PRIO_PROCESS, thread, min(nice, _NICEST))
