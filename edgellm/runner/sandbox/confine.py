"""A process binds itself to rules, once it is known that it can live with them.

What is given up doesn't come back, and Landlock is a thread's: so a thread that is needed for
nothing else tries first, with the same rules, whether all that will be needed can be read, and
imports what the program goes on with. A library that lies where no rule looks, a file that the
system shows in another place than it said: then there is no sandbox, and no harm.
"""

import contextlib
import threading
from collections.abc import Callable

from edgellm.runner.sandbox import landlock, seccomp
from edgellm.runner.sandbox.rules import Rules

_LEAST_ABI = 1


class NotConfined(Exception):
    """Says why in words."""


def confine(rules: Rules, imports: Callable[[], None] = lambda: None) -> int:
    """Binds this thread and all that it starts; no other thread may run yet, they would stay as
    they are. Returns Landlock's ABI. Raises NotConfined, and nothing has changed then."""
    version = landlock.abi()
    if version < _LEAST_ABI:
        raise NotConfined("this system has no Landlock (Linux 5.13 and later, where lsm= has it)")
    if fault := _fault_of(rules, version, imports):
        raise NotConfined(fault)
    try:
        _bind(rules, version)
    except OSError as error:
        raise NotConfined(f"Landlock refused: {error.strerror}") from error
    return version


def _bind(rules: Rules, version: int) -> None:
    """Where sockets can't be forbidden, Landlock's part has to do. Raises OSError."""
    landlock.restrict(rules, version)
    with contextlib.suppress(OSError):
        seccomp.forbid_sockets()


def _fault_of(rules: Rules, version: int, imports: Callable[[], None]) -> str | None:
    faults: list[str] = []

    def run() -> None:
        try:
            _bind(rules, version)
            for path in rules.needed:
                with open(path, "rb") as file:  # noqa: PTH123 - as plain as it can be
                    file.read(1)
            imports()
        except Exception as error:  # noqa: BLE001 - a library that lacks a file raises what it likes
            faults.append(f"it couldn't do its work in it: {error}")

    trying = threading.Thread(target=run)
    trying.start()
    trying.join()
    return next(iter(faults), None)
