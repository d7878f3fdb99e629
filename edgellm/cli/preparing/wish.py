"""What is wished for one model, put together: how it is planned, and how it is served then."""

from contextlib import AbstractContextManager
from dataclasses import replace
from math import inf

from edgellm.chat.defaults import Defaults
from edgellm.cli.flags.tables import Table, blamed
from edgellm.selector.plan import Goal, Plan
from edgellm.values import frozen


@frozen
class Wish:
    """`keep_s`: how long it idles before it sleeps;
    None: it does not, where it takes no turns. `said`: what a table says of it, for the plan;
    `keys`: those of its keys that no flag goes before."""

    goal: Goal
    keep_s: float | None = None
    is_pinned: bool = False
    name: str | None = None
    aliases: tuple[str, ...] = ()
    defaults: Defaults = Defaults()
    said: str = ""
    table: Table = Table()
    keys: tuple[str, ...] = ()

    @property
    def sleeps(self) -> bool:
        """Also where it is the only one."""
        return self.keep_s is not None and not self.is_pinned

    @property
    def idles_s(self) -> float:
        return inf if self.keep_s is None else self.keep_s

    def blamed(self) -> AbstractContextManager[None]:
        """See tables.blamed."""
        return blamed(self.table, self.keys)

    def told(self, plan: Plan) -> Plan:
        return replace(plan, reasons=(*plan.reasons, self.said)) if self.said else plan
