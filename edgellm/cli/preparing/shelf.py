"""All models that lie whole on this disk, each planned, so that it can be loaded when asked for.

Those are the ones that `edgellm list` shows, by the same names; the demo only where there is no
other. They are planned by arithmetic alone: llama.cpp is not asked of models that perhaps nobody
will want. What doesn't fit, or can't be read, is told once and left out.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

from edgellm.cli.flags.seeing import Seeing
from edgellm.cli.preparing.choosing import chosen
from edgellm.cli.preparing.prepare import Prepared, fetched
from edgellm.cli.preparing.resolve import DEMO, Resolved, demo, found_candidate, on_disk
from edgellm.cli.preparing.store import store_of
from edgellm.cli.preparing.vocabularies import remembered
from edgellm.config import Config
from edgellm.errors import EdgellmError
from edgellm.models.elsewhere.found import FoundModel
from edgellm.models.elsewhere.tools import found_models
from edgellm.models.fetching.download import Progress
from edgellm.models.known import catalog
from edgellm.models.stored import StoredModel
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Candidate, Goal
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
        self, config: Config, hardware: Hardware, goal: Goal, say: Callable[[str], None]
    ) -> None:
        self._config, self._hardware, self._say = config, hardware, say
        self._goal = goal
        self._seen: dict[str, Path] = {}  # those that were left out, too
        self._names: frozenset[str] = frozenset()  # of those that were not

    def look(self) -> Change:
        """Raises StorageError, DoesNotFit."""
        here = {model.name: model for model in self._here()}
        gone = frozenset(
            name for name, path in self._seen.items() if name not in here or here[name].path != path
        )
        new = [one for name, one in here.items() if name not in self._seen or name in gone]
        self._goal = replace(self._goal, n_turns=min(max(1, len(here)), _MOST_TURNS))
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
        return replace(made, aliases=tuple(_in_catalog(model)))

    def _planned(self, resolved: Resolved) -> Prepared:
        choice = chosen(Seeing().applied(resolved), self._hardware, self._goal)
        made = fetched(choice, self._hardware, fetching=_lies_here, asks_oracle=False)
        idles_s = self._config.sleep_idle_seconds
        return replace(made, sleeps=True, keep_s=inf if idles_s is None else idles_s, may_go=True)


def _resolved(model: StoredModel | FoundModel) -> Resolved:
    """Raises ModelNotFound, StorageError, BadGGUF."""
    if isinstance(model, StoredModel):
        return on_disk(model.path, model.name, model.quant)
    return Resolved(model.name, (found_candidate(model),), _own_file)


def _own_file(wanted: Candidate, progress: Progress) -> Path:
    return Path(wanted.file)


def _lies_here(resolved: Resolved, wanted: Candidate) -> Path:
    return Path(wanted.file)


def _in_catalog(model: StoredModel | FoundModel) -> Iterator[str]:
    """What the catalog calls it, for whoever has pulled it by that name."""
    if isinstance(model, StoredModel):
        for name in catalog.names_in(model.repo):
            yield f"{name}-{model.quant.lower()}"
            yield name
