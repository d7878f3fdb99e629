"""A model by the name that was typed, and all that is said of it.

its flags  >  its table in the settings  >  the settings of all  >  what the plan finds best
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import msgspec

from edgellm.cli.flags.adapting import with_adapters
from edgellm.cli.flags.drafting import with_draft, with_drafts
from edgellm.cli.flags.pins import Pins
from edgellm.cli.flags.tables import Table, blamed, flags_for, pin_keys, table_of
from edgellm.cli.flags.wishes import Wishes
from edgellm.cli.preparing.resolve import Resolved, resolve
from edgellm.cli.preparing.wish import Wish
from edgellm.config import Config
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Candidate, Goal
from edgellm.values import frozen


@frozen
class Wanted:
    name: str
    table: Table
    wishes: Wishes
    wish: Wish
    config: Config  # with the draft model that is this one's

    @classmethod
    def of(cls, name: str, config: Config, flags: Wishes, *, n_parallel: int | None = None) -> Self:
        """`n_parallel`: conversations at the same time, where nobody says it. Raises ConfigError
        for a table that can't be, BadRequest for flags that don't go with it."""
        table = table_of(config, name)
        wishes = flags.over(table.wishes)
        named = wishes.drafting.named(wishes.pins)
        own = config if named is None else msgspec.structs.replace(config, draft=named)
        keys = _heeded(table, wishes)
        with blamed(table, keys):
            wish = _wish(config, table, wishes, keys, n_parallel)
        return cls(name, table, wishes, wish, own)

    def resolved(self, *, plan_only: bool = False) -> Resolved:
        """Raises as `resolve`."""
        return self.drafted(resolve(self.name, self.config, plan_only=plan_only), plan_only)

    def drafted(self, resolved: Resolved, plan_only: bool = False) -> Resolved:
        """Beside its draft model. Raises as `resolve`, of that."""
        with self.wish.blamed():
            return with_draft(resolved, self.config, plan_only=plan_only)

    def dressed(self, resolved: Resolved) -> Resolved:
        """With its projector and its adapters. Raises as the flags do that name them."""
        with self.wish.blamed():
            found = self.wishes.adapting.applied(self.wishes.seeing.applied(resolved))
        return replace(found, wish=self.wish)


def wanted(name: str, config: Config, flags: Wishes, *, n_parallel: int | None = None) -> Resolved:
    """Raises as Wanted does."""
    one = Wanted.of(name, config, flags, n_parallel=n_parallel)
    return one.dressed(one.resolved())


def wanted_beside(embedding: str, config: Config, flags: Wishes) -> Resolved:
    """An embedding model: the flags are the first one's, but for those of the machine. Raises as
    Wanted does."""
    pins = flags.pins
    own = Pins(reserve=pins.reserve, threads=pins.threads, batch_invariant=pins.batch_invariant)
    return wanted(embedding, msgspec.structs.replace(config, draft=None), Wishes(pins=own))


def as_served(found: Resolved, hardware: Hardware, goal: Goal) -> tuple[Sequence[Candidate], Goal]:
    """The candidates with the draft model and the adapters that they would be served with, and the
    goal that asks for its guesses. Nothing is downloaded. Raises DoesNotFit, BadRequest."""
    candidates, goal = with_drafts(found, hardware, goal)
    return [with_adapters(each, found.adapters) for each in candidates], goal


def _wish(
    config: Config,
    table: Table,
    wishes: Wishes,
    keys: tuple[str, ...],
    n_parallel: int | None,
) -> Wish:
    pins = replace(wishes.pins, parallel=wishes.pins.parallel or n_parallel)
    goal = replace(pins.goal(config.reserve), tabled=flags_for(keys))
    idle_s = wishes.sleep_idle_seconds
    return Wish(
        goal,
        config.sleep_idle_seconds if idle_s is None else idle_s,
        table.is_pinned,
        table.name,
        table.aliases,
        table.defaults,
        _sentence(table, keys),
        partial(blamed, table, keys),
    )


def _heeded(table: Table, wishes: Wishes) -> tuple[str, ...]:
    """All its keys but those of which a flag has said something else."""
    fields = pin_keys()
    return tuple(
        key
        for key, value in table.said.items()
        if key not in fields or getattr(wishes.pins, fields[key]) == value
    )


def _sentence(table: Table, keys: Iterable[str]) -> str:
    """'[models."qwen3:8b"] of config.toml: ctx 16384, use agent, sampling'."""
    said = ", ".join(_item(key, table.said[key]) for key in keys)
    return f"{table.title} of {table.file.rpartition('/')[2]}: {said}" if said else ""


def _item(key: str, value: Any) -> str:
    if isinstance(value, dict) or key == "system":
        return key
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{key} {shown.lower() if isinstance(value, bool) else shown}"
