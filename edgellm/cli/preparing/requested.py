"""A model as it was asked for: the name that was typed, and all that is said of it.

its flags  >  its table in the settings  >  the settings of all  >  what the plan finds best
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import msgspec

from edgellm.cli.flags.adapting import with_adapters
from edgellm.cli.flags.drafting import with_draft, with_drafts
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.pins import Pins
from edgellm.cli.flags.tables import Table, flags_for, naming_table, pin_keys, table_of
from edgellm.cli.preparing.model_settings import ModelSettings
from edgellm.cli.preparing.resolve import Resolved, resolve
from edgellm.config import Config
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Candidate, Goal
from edgellm.values import frozen


@frozen
class RequestedModel:
    """`options`: what its flags and its table say together; `settings`: what comes of them."""

    name: str
    table: Table
    options: ModelOptions
    settings: ModelSettings
    config: Config  # with the draft model that is this one's

    @classmethod
    def of(
        cls, name: str, config: Config, flags: ModelOptions, *, n_parallel: int | None = None
    ) -> Self:
        """`n_parallel`: conversations at the same time, where nobody says it. Raises ConfigError
        for a table that can't be, BadRequest for flags that don't go with it."""
        table = table_of(config, name)
        options = flags.over(table.options)
        named = options.drafting.named(options.pins)
        own = config if named is None else msgspec.structs.replace(config, draft=named)
        keys = _heeded(table, options)
        with naming_table(table, keys):
            settings = _settings(config, table, options, keys, n_parallel)
        return cls(name, table, options, settings, own)

    def resolved(self, *, plan_only: bool = False) -> Resolved:
        """Raises as `resolve`."""
        return self.with_draft(resolve(self.name, self.config, plan_only=plan_only), plan_only)

    def with_draft(self, resolved: Resolved, plan_only: bool = False) -> Resolved:
        """Beside its draft model. Raises as `resolve`, of that."""
        with self.settings.naming_table():
            return with_draft(resolved, self.config, plan_only=plan_only)

    def with_extras(self, resolved: Resolved) -> Resolved:
        """With its projector and its adapters. Raises as the flags do that name them."""
        with self.settings.naming_table():
            found = self.options.adapting.applied(self.options.seeing.applied(resolved))
        return replace(found, settings=self.settings)


def resolve_requested(
    name: str, config: Config, flags: ModelOptions, *, n_parallel: int | None = None
) -> Resolved:
    """Raises as RequestedModel does."""
    one = RequestedModel.of(name, config, flags, n_parallel=n_parallel)
    return one.with_extras(one.resolved())


def resolve_embedding(embedding: str, config: Config, flags: ModelOptions) -> Resolved:
    """An embedding model: the flags are the first one's, but for those of the machine. Raises as
    RequestedModel does."""
    pins = flags.pins
    own = Pins(reserve=pins.reserve, threads=pins.threads, batch_invariant=pins.batch_invariant)
    return resolve_requested(
        embedding, msgspec.structs.replace(config, draft=None), ModelOptions(pins=own)
    )


def as_served(found: Resolved, hardware: Hardware, goal: Goal) -> tuple[Sequence[Candidate], Goal]:
    """The candidates with the draft model and the adapters that they would be served with, and the
    goal that asks for its guesses. Nothing is downloaded. Raises DoesNotFit, BadRequest."""
    candidates, goal = with_drafts(found, hardware, goal)
    return [with_adapters(each, found.adapters) for each in candidates], goal


def _settings(
    config: Config,
    table: Table,
    options: ModelOptions,
    keys: tuple[str, ...],
    n_parallel: int | None,
) -> ModelSettings:
    pins = replace(options.pins, parallel=options.pins.parallel or n_parallel)
    goal = replace(pins.goal(config.reserve), tabled=flags_for(keys))
    idle_s = options.sleep_idle_seconds
    return ModelSettings(
        goal,
        config.sleep_idle_seconds if idle_s is None else idle_s,
        table.is_pinned,
        table.name,
        table.aliases,
        table.defaults,
        _sentence(table, keys),
        partial(naming_table, table, keys),
    )


def _heeded(table: Table, options: ModelOptions) -> tuple[str, ...]:
    """All its keys but those of which a flag has said something else."""
    fields = pin_keys()
    return tuple(
        key
        for key, value in table.said.items()
        if key not in fields or getattr(options.pins, fields[key]) == value
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
