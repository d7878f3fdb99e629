"""What is wished for one model, put together: how it is planned, and how it is served then."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import field, replace
from math import inf

from edgellm.chat.defaults import Defaults
from edgellm.selector.plan import Goal, Plan
from edgellm.values import frozen


@frozen
class Wish:
    """`keep_s`: how long it idles before it sleeps;
    None: it does not, where it takes no turns. `said`: what a table says of it, for the plan;
    `blamed`: around what may go wrong by that, and is told of the table then."""

    goal: Goal
    keep_s: float | None = None
    is_pinned: bool = False
    name: str | None = None
    aliases: tuple[str, ...] = ()
    defaults: Defaults = Defaults()
    said: str = ""
    blamed: Callable[[], AbstractContextManager[None]] = field(default=nullcontext, compare=False)

    @property
    def sleeps(self) -> bool:
        """Also where it is the only one."""
        return self.keep_s is not None and not self.is_pinned

    @property
    def idles_s(self) -> float:
        return inf if self.keep_s is None else self.keep_s

    def told(self, plan: Plan) -> Plan:
        return replace(plan, reasons=(*plan.reasons, self.said)) if self.said else plan
