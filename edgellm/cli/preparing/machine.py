"""This machine, as the selector is told of it."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from edgellm.cli.output import say
from edgellm.cli.waiting import Waiting
from edgellm.errors import DeadlinePassed
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Plan

Waits = tuple[tuple[str, float], ...]


def say_waiting(waits: Waits) -> None:
    """Of drivers that are slow, or hang: cards that sleep take seconds to wake."""
    say("waiting for " + ", ".join(f"{name} (up to {left_s:.0f} s)" for name, left_s in waits))


@contextlib.contextmanager
def looking(words: str = "looking at this machine …") -> Iterator[Callable[[Waits], None]]:
    """A sign of life until all that was asked has answered, or who is waited for is told."""
    with Waiting(lambda: words) as line:

        def waiting(waits: Waits) -> None:
            line.end()
            say_waiting(waits)

        yield waiting


def look(*, waiting: Callable[[Waits], None] = say_waiting) -> Hardware:
    """The first look after a boot also measures the memory's bandwidth, for about a second.

    Raises DeadlinePassed.
    """
    from edgellm.probe.asked.hangs import this_machine
    from edgellm.probe.detect import detect

    return checked(detect(this_machine(), waiting=waiting))


def recall() -> Hardware:
    """For what would be, not for what is loaded: programs are not asked again what they can only
    answer as before. Free memory is always today's. Raises DeadlinePassed."""
    from edgellm.probe.asked.cached_answers import CachedSources
    from edgellm.probe.asked.hangs import this_machine
    from edgellm.probe.detect import detect
    from edgellm.runner.build import llama_build

    with looking() as waiting:
        sources = CachedSources(this_machine(), llama_build())
        return checked(detect(sources, waiting=waiting))


def checked(hardware: Hardware) -> Hardware:
    """Raises DeadlinePassed for a machine that did not tell its memory: there is no plan without
    it, and "does not fit" would be no answer."""
    if not hardware.host.total_bytes:
        raise DeadlinePassed(
            "this machine did not tell in time how much memory it has: it may be very busy",
            hint="try again; edgellm probe says what did not answer",
        )
    return hardware


def without(hardware: Hardware, plan: Plan) -> Hardware:
    """What is left of it once `plan` is loaded: the next model must not count that memory."""
    taken = plan.placement.bytes_by_pool
    pools = tuple(
        dataclasses.replace(
            pool,
            free_bytes=max(0, _free(pool.free_bytes, pool.total_bytes) - taken.get(pool.id, 0)),
        )
        for pool in hardware.pools
    )
    return dataclasses.replace(hardware, pools=pools)


def _free(free_bytes: int | None, total_bytes: int) -> int:
    return total_bytes if free_bytes is None else free_bytes
