"""An event loop whose time passes only while everybody in it waits: no machine is too slow for it,
and no wait takes any time."""

import asyncio
import contextlib
import selectors
from types import ModuleType, SimpleNamespace
from unittest import mock

_TURN_S = 1e-6  # each turn of the loop takes some: what is due in no time comes


class _Instant(selectors.DefaultSelector):
    now_s = 1000.0

    def select(self, timeout=None):
        if timeout is None:  # for a file, or for a thread's word
            return super().select()
        found = super().select(0)
        self.now_s += _TURN_S if found else timeout + _TURN_S
        return found


class Clockwork(asyncio.SelectorEventLoop):
    def __init__(self):
        self._instant = _Instant()
        super().__init__(self._instant)

    def time(self):
        return self._instant.now_s


def run(scenario, *modules: ModuleType):
    """What the coroutine returns; the clock of these modules is the loop's."""
    with asyncio.Runner(loop_factory=Clockwork) as runner, contextlib.ExitStack() as patched:
        clock = SimpleNamespace(monotonic=runner.get_loop().time)
        for module in modules:
            patched.enter_context(mock.patch.object(module, "time", clock))
        return runner.run(scenario)
