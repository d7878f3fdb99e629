"""All models that lie whole on this disk, each planned, so that it can be loaded when asked for.

Those are the ones that `edgellm list` shows, by the same names; the demo only where there is no
other. They are planned by arithmetic alone: llama.cpp is not asked of models that perhaps nobody
will want. Those that the settings pin come first, and the others have what these leave. What
doesn't fit, or can't be read, is told once and left out.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.tables import table_of
from edgellm.cli.preparing import machine
from edgellm.cli.preparing.choosing import chosen
from edgellm.cli.preparing.prepare import Prepared, fetched
from edgellm.cli.preparing.requested import RequestedModel
from edgellm.cli.preparing.resolve import DEMO, Resolved, demo, found_candidate, on_disk
from edgellm.cli.preparing.store import store_of
from edgellm.cli.preparing.vocabularies import remembered
from edgellm.config import Config
from edgellm.errors import EdgellmError
from edgellm.models.elsewhere.found import FoundModel
from edgellm.models.elsewhere.tools import found_models
from edgellm.models.known import catalog
from edgellm.models.stored import StoredModel
from edgellm.probe.hardware import Hardware
from edgellm.values import frozen

_MOST_TURNS = 8  # more share what past conversations may take as if they were so many


@frozen
class Change:
    """Since the last look. What was replaced by a newer file is in both."""

    come: tuple[Prepared, ...] = ()
    gone: frozenset[str] = frozenset()  # by name


class Shelf:
    """`say` is told of each that is left out."""

    def __init__(
        self, config: Config, hardware: Hardware, flags: ModelOptions, say: Callable[[str], None]
    ) -> None:
        self._config, self._hardware, self._say = config, hardware, say
        self._flags, self._n_turns = flags, 1
        self._may_pin = True  # before any is loaded
        self._seen: dict[str, Path] = {}  # those that were left out, too
        self._names: frozenset[str] = frozenset()  # of those that were not

    def look(self) -> Change:
        """Raises StorageError, DoesNotFit."""
        here = {model.name: model for model in self._here()}
        gone = frozenset(
            name for name, path in self._seen.items() if name not in here or here[name].path != path
        )
        new = [one for name, one in here.items() if name not in self._seen or name in gone]
        self._n_turns = min(max(1, len(here)), _MOST_TURNS)
        new.sort(key=lambda one: not table_of(self._config, one.name).is_pinned)
        with remembered():
            come = [made for one in new if (made := self._ready(one))]
        names = (self._names - gone - {DEMO}) | {one.name for one in come}
        if names and DEMO in self._names:
            gone |= {DEMO}
        elif not names and DEMO not in self._names:
            come.append(self._planned(demo()))
        # After all that may raise: what was not told is found again by the next look.
        self._seen = {name: model.path for name, model in here.items()}
        self._names = names or frozenset({DEMO})
        self._may_pin = False
        return Change(tuple(come), gone)

    def _here(self) -> Iterator[StoredModel | FoundModel]:
        yield from store_of(self._config).list()
        yield from found_models()

    def _ready(self, model: StoredModel | FoundModel) -> Prepared | None:
        """None: it is left out."""
        try:
            made = self._planned(_resolved(model))
        except EdgellmError as error:
            words = str(error).partition("\n")[0]
            named = words if words.startswith(model.name) else f"{model.name}: {words}"
            self._say(f"left out: {named}")
            return None
        return replace(made, aliases=(*made.aliases, *_in_catalog(model)))

    def _planned(self, resolved: Resolved) -> Prepared:
        """By the name that it has here: one of its table's own is another of its names."""
        one = RequestedModel.of(resolved.name, self._config, self._flags)
        settings, named = replace(one.settings, name=None), filter(None, (one.settings.name,))
        goal = replace(settings.goal, n_turns=self._n_turns)
        choice = chosen(replace(one.with_extras(resolved), settings=settings), self._hardware, goal)
        made = fetched(choice, self._hardware, asks_oracle=False)
        made = replace(made, aliases=(*named, *made.aliases))
        if not made.is_pinned:
            return replace(made, sleeps=True, may_go=True)
        if not self._may_pin:
            self._say(f"{made.name} takes turns until the server starts anew: it is pinned then")
            return replace(made, sleeps=True, may_go=True)
        self._hardware = machine.without(self._hardware, made.plan)
        return made


def _resolved(model: StoredModel | FoundModel) -> Resolved:
    """Raises ModelNotFound, StorageError, BadGGUF."""
    if isinstance(model, StoredModel):
        return on_disk(model.path, model.name, model.quant)
    return Resolved(model.name, (found_candidate(model),))


def _in_catalog(model: StoredModel | FoundModel) -> Iterator[str]:
    """What the catalog calls it, for whoever has pulled it by that name."""
    if isinstance(model, StoredModel):
        for name in catalog.names_in(model.repo):
            yield f"{name}-{model.quant.lower()}"
            yield name
