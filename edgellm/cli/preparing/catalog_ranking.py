"""The catalog, ranked for one machine, without looking at every model in every quantization.

A hundred models in six quantizations each would take ten seconds. Good models are ranked by their
ratings (models/known/ratings.py), so they are looked at in that order and the search ends when
there are enough. Each is first glanced at: in one usual quantization, for one short conversation.
What can't keep the pace so can't in any larger file or context; and what can is mostly known before
its plan is made.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from edgellm.cli.preparing.best import (
    Choice,
    balanced_choice,
    choice_of,
    choices_of,
    is_too_slow,
    promises,
    stored_models,
)
from edgellm.cli.preparing.resolve import catalog_candidates
from edgellm.config import Config
from edgellm.models.known import catalog, ratings
from edgellm.models.known.ratings import Kind, Rating
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Candidate, Goal
from edgellm.selector.profiles import Profiles
from edgellm.selector.search.glance import could_reach
from edgellm.values import frozen

if TYPE_CHECKING:
    from edgellm.models.known.catalog import CatalogEntry

_MOST_ROWS = 10
_USUAL = ("Q4_K_M", "MXFP4", "Q4_K_S", "Q4_0", "Q8_0", "F16")  # the first that there is
_NO_MERIT = (False, False, float("-inf"), "")
_LEAST_BITS = 2.0  # a weight, of the smallest mixes


@frozen
class Rated:
    entry: "CatalogEntry"
    rating: Rating


def recommended(
    models: list[Rated],
    hardware: Hardware,
    goal: Goal,
    profiles: Profiles,
    *,
    every: bool = False,
) -> list[Choice]:
    """Of `rated_candidates`, the best first. One of each family and ten at most, unless `every` is
    asked for."""
    if every:
        hopeful = (one for one in models if _could_keep_pace(one, hardware, goal, profiles))
        found = [choice for one in hopeful if (choice := _whole(one, hardware, goal, profiles))]
        return sorted(found, key=lambda choice: choice.merit, reverse=True)
    return _best(models, hardware, goal, profiles, _MOST_ROWS)


def recommended_of_disk(
    config: Config, hardware: Hardware, goal: Goal, *, kind: Kind = "chat"
) -> list[Choice]:
    """All that was downloaded before and fits, the best first."""
    found = choices_of(stored_models(config, kind), hardware, goal)
    return sorted(found, key=lambda choice: choice.merit, reverse=True)


def rated_candidates(hardware: Hardware, kind: Kind) -> list[Rated]:
    """What can be had and served, and could fit at all, the best first."""
    room_bytes = sum(pool.total_bytes for pool in hardware.pools)
    models = [
        Rated(entry, ratings.rating(entry, kind))
        for entry in catalog.load_catalog()
        if entry.repo
        and entry.is_servable
        and entry.shape.pooling is None
        and (entry.n_params or 0) * _LEAST_BITS / 8 < room_bytes
    ]
    return sorted(models, key=lambda one: (one.rating.counted, one.entry.released), reverse=True)


def _best(
    models: list[Rated], hardware: Hardware, goal: Goal, profiles: Profiles, limit: int
) -> list[Choice]:
    good: dict[str, Choice] = {}
    others: list[tuple[Rated, Choice | None]] = []
    for one in models:
        family = one.entry.family
        if family in good or len(good) == limit:
            continue
        if not _could_keep_pace(one, hardware, goal, profiles):
            continue
        choice = _looked_at(one, hardware, goal, profiles)
        if choice and choice.is_good:
            good[family] = choice
        else:
            others.append((one, choice))
    rows = sorted(good.values(), key=lambda choice: choice.merit, reverse=True)
    rest = [*_fill(others, set(good), limit - len(rows), hardware, goal, profiles)]
    return [*rows, *sorted(rest, key=lambda choice: choice.merit, reverse=True)]


def _fill(
    others: list[tuple[Rated, Choice | None]],
    families: set[str],
    limit: int,
    hardware: Hardware,
    goal: Goal,
    profiles: Profiles,
) -> Iterator[Choice]:
    """What is slower, then what fits in a small file only: as far as there is room for them."""
    if limit <= 0:
        return
    glances = [(one, choice or _glance(one, hardware, goal, profiles)) for one, choice in others]
    glances.sort(key=lambda pair: pair[1].merit if pair[1] else _NO_MERIT, reverse=True)
    for one, _ in glances:
        if limit <= 0:
            return
        family = one.entry.family
        if family not in families and (choice := _whole(one, hardware, goal, profiles)):
            families.add(family)
            limit -= 1
            yield choice


def _could_keep_pace(one: Rated, hardware: Hardware, goal: Goal, profiles: Profiles) -> bool:
    """That of `--min-tok-s`, in whatever file."""
    usual = _usual(one.entry)
    if goal.min_tok_s is None or usual is None:
        return True
    return could_reach(hardware, usual, goal, profiles, goal.min_tok_s)


def _looked_at(one: Rated, hardware: Hardware, goal: Goal, profiles: Profiles) -> Choice | None:
    """Wholly, if that may be worth it. None: it can't be good, and it may not even fit."""
    usual, short = _usual(one.entry), _short(goal, profiles)
    if usual is None or is_too_slow(usual, hardware, short, profiles):
        return None
    if not promises(usual, hardware, short, profiles):
        glance = balanced_choice([usual], hardware, short, profiles, one.rating)
        if glance is None or not glance.is_good:
            return glance
    return _whole(one, hardware, goal, profiles)


def _glance(one: Rated, hardware: Hardware, goal: Goal, profiles: Profiles) -> Choice | None:
    """None: it doesn't fit so; in a smaller file it would lose much."""
    usual = _usual(one.entry)
    if usual is None:
        return None
    return balanced_choice([usual], hardware, _short(goal, profiles), profiles, one.rating)


def _usual(entry: "CatalogEntry") -> Candidate | None:
    label = next((label for label in _USUAL if label in catalog.plannable_quants(entry)), None)
    return next(iter(catalog_candidates(entry, label)), None) if label else None


def _short(goal: Goal, profiles: Profiles) -> Goal:
    return replace(
        goal,
        n_ctx=None,
        n_ctx_seq=profiles.workload(goal.use).n_ctx_seq_min,
        min_ctx_seq=None,
        n_parallel=1,
        kv_type_k=goal.kv_type_k or "f16",
        kv_type_v=goal.kv_type_v or "f16",
    )


def _whole(one: Rated, hardware: Hardware, goal: Goal, profiles: Profiles) -> Choice | None:
    candidates = catalog_candidates(one.entry)
    return choice_of(candidates, hardware, goal, profiles, one.rating) if candidates else None
