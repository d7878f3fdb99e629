"""The settings of one model, put together: how it is planned, and how it is served then."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import field, replace
from math import inf

from edgellm.chat.defaults import Defaults
from edgellm.selector.plan import Goal, Plan
from edgellm.values import frozen


@frozen
class ModelSettings:
    """`keep_s`: how long it idles before it sleeps; None: it never does, unless it takes turns with
    others. `said`: what its table in the settings says, for the plan's reasons. `naming_table`: a
    context manager; an error that the table's words have caused names the table."""

    goal: Goal
    keep_s: float | None = None
    is_pinned: bool = False
    name: str | None = None
    aliases: tuple[str, ...] = ()
    defaults: Defaults = Defaults()
    said: str = ""
    naming_table: Callable[[], AbstractContextManager[None]] = field(
        default=nullcontext, compare=False
    )

    @property
    def sleeps(self) -> bool:
        """Also where it is the only one."""
        return self.keep_s is not None and not self.is_pinned

    @property
    def idles_s(self) -> float:
        return inf if self.keep_s is None else self.keep_s

    def told(self, plan: Plan) -> Plan:
        """With what the table says among its reasons."""
        return replace(plan, reasons=(*plan.reasons, self.said)) if self.said else plan
