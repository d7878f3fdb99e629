"""The catalog, ranked for one machine, without looking at every model in every quantization.

A hundred models in six quantizations each would take ten seconds. Good models are ranked by their
parameters, so they are looked at in that order and the search ends when there are enough. Each is
first glanced at: in one usual quantization, for one short conversation. What can't keep the pace so
can't in any larger file or context; and what can is mostly known before its plan is made.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from edgellm.cli.preparing.best import Choice, balanced_choice, choice_of, is_too_slow, promises
from edgellm.cli.preparing.resolve import catalog_candidates
from edgellm.models.known import catalog
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Candidate, Goal
from edgellm.selector.profiles import Profiles

if TYPE_CHECKING:
    from edgellm.models.known.catalog import CatalogEntry

_MOST_ROWS = 10
_USUAL = ("Q4_K_M", "MXFP4", "Q4_K_S", "Q4_0", "Q8_0", "F16")  # the first that there is
_LEAST_BITS = 2.0  # a weight, of the smallest mixes
_CODERS = ("coder", "codestral", "devstral")  # in the names of families made for code


def recommended(
    hardware: Hardware,
    goal: Goal,
    profiles: Profiles,
    *,
    prefers_code: bool = False,
    every: bool = False,
) -> list[Choice]:
    """The best first. One of each family and ten at most, unless `every` is asked for."""
    entries = [entry for entry in _candidates(hardware) if entry.repo and entry.is_servable]
    if every:
        found = [choice for entry in entries if (choice := _whole(entry, hardware, goal, profiles))]
        return sorted(found, key=lambda choice: (_codes(choice, prefers_code), choice.merit))[::-1]
    if not prefers_code:
        return _best(entries, hardware, goal, profiles, _MOST_ROWS)
    coders = [entry for entry in entries if _is_coder(entry.name)]
    others = [entry for entry in entries if not _is_coder(entry.name)]
    first = _best(coders, hardware, goal, profiles, _MOST_ROWS)
    return [*first, *_best(others, hardware, goal, profiles, _MOST_ROWS - len(first))]


def _candidates(hardware: Hardware) -> "list[CatalogEntry]":
    """What could fit at all, the largest first."""
    room_bytes = sum(pool.total_bytes for pool in hardware.pools)
    entries = [
        entry
        for entry in catalog.load_catalog()
        if (entry.n_params or 0) * _LEAST_BITS / 8 < room_bytes
    ]
    return sorted(entries, key=lambda entry: entry.n_params or 0, reverse=True)


def _best(
    entries: "list[CatalogEntry]", hardware: Hardware, goal: Goal, profiles: Profiles, limit: int
) -> list[Choice]:
    good: dict[str, Choice] = {}
    others: list[tuple[CatalogEntry, Choice | None]] = []
    for entry in entries:
        family = _family(entry.name)
        if family in good or len(good) == limit:
            continue
        choice = _looked_at(entry, hardware, goal, profiles)
        if choice and choice.is_good:
            good[family] = choice
        else:
            others.append((entry, choice))
    rows = sorted(good.values(), key=lambda choice: choice.merit, reverse=True)
    rest = [*_fill(others, set(good), limit - len(rows), hardware, goal, profiles)]
    return [*rows, *sorted(rest, key=lambda choice: choice.merit, reverse=True)]


def _fill(
    others: "list[tuple[CatalogEntry, Choice | None]]",
    families: set[str],
    limit: int,
    hardware: Hardware,
    goal: Goal,
    profiles: Profiles,
) -> Iterator[Choice]:
    """What is slower, then what fits in a small file only: as far as there is room for them."""
    if limit <= 0:
        return
    glances = [
        (entry, choice or _glance(entry, hardware, goal, profiles)) for entry, choice in others
    ]
    glances.sort(key=lambda one: one[1].merit if one[1] else (False, False, 0.0), reverse=True)
    for entry, _ in glances:
        if limit <= 0:
            return
        family = _family(entry.name)
        if family not in families and (choice := _whole(entry, hardware, goal, profiles)):
            families.add(family)
            limit -= 1
            yield choice


def _looked_at(
    entry: "CatalogEntry", hardware: Hardware, goal: Goal, profiles: Profiles
) -> Choice | None:
    """Wholly, if that may be worth it. None: it can't be good, and it may not even fit."""
    usual, short = _usual(entry), _short(goal, profiles)
    if usual is None:
        return None
    if not promises(usual, hardware, short, profiles):
        if is_too_slow(usual, hardware, short, profiles):
            return None
        glance = balanced_choice([usual], hardware, short, profiles)
        if glance is None or not glance.is_good:
            return glance
    return _whole(entry, hardware, goal, profiles)


def _glance(
    entry: "CatalogEntry", hardware: Hardware, goal: Goal, profiles: Profiles
) -> Choice | None:
    """None: it doesn't fit so; in a smaller file it would lose much."""
    usual = _usual(entry)
    if usual is None:
        return None
    return balanced_choice([usual], hardware, _short(goal, profiles), profiles)


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


def _whole(
    entry: "CatalogEntry", hardware: Hardware, goal: Goal, profiles: Profiles
) -> Choice | None:
    candidates = catalog_candidates(entry)
    return choice_of(candidates, hardware, goal, profiles) if candidates else None


def _family(name: str) -> str:
    return name.partition(":")[0]


def _is_coder(name: str) -> bool:
    return any(word in name for word in _CODERS)


def _codes(choice: Choice, prefers_code: bool) -> bool:
    return prefers_code and _is_coder(choice.name)
