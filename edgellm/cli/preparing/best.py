"""The model that suits this machine best, when nobody named one.

A use needs a pace and a first word in time (profiles/workloads), and there is a loss that is still
acceptable (profiles/quality). Among the models that keep all three, the one that is rated best
(profiles/ratings); when none does, the rating counts against the pace that is missing. Within a
model the selector has already chosen the quantization.
"""

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from math import inf, log2

from edgellm.cli.preparing.planning import profiles_here
from edgellm.cli.preparing.resolve import (
    catalog_candidates,
    found_candidates,
    stored_candidates,
)
from edgellm.cli.preparing.store import store_of
from edgellm.config import Config
from edgellm.errors import BadRequest, DoesNotFit, ModelNotFound
from edgellm.files import folder_there
from edgellm.models.elsewhere.tools import found_models
from edgellm.models.known import catalog, ratings
from edgellm.models.known.ratings import Kind, Rating
from edgellm.models.names import CatalogReference, HubReference, parse_reference
from edgellm.probe.hardware import Hardware
from edgellm.selector.choose import choose
from edgellm.selector.plan import Candidate, Goal, Plan, Range, candidate_of
from edgellm.selector.profiles import Profiles, Workload
from edgellm.selector.quality import weight_kld
from edgellm.selector.search.glance import glance, may_reach
from edgellm.values import frozen

# What is offered unasked: one family in every size, Apache-2.0, on the hub for everyone.
_OFFERED_FAMILIES = ("qwen3", "gpt-oss")
_USUAL_PACE_RATIO = 0.5  # of the use's target: ten tokens a second is still faster than reading
_USUAL_DELAY_RATIO = 10.0  # of the target for the first word: a long question may take a while
# Half the pace is worth a better model only if that is more than twice as large: between sizes of
# one family half the size is 25 to 50 points less and twice the pace.
_POINTS_PER_HALVING = 100.0
_FREE_DISK_RATIO = 0.8  # a download that fills the disk helps nobody


@frozen
class Choice:
    """One model, in the quantization and placement that suit it. `kld`: what its weights lose.
    `lack`: halvings of the pace that the use needs."""

    name: str
    goal: Goal
    plan: Plan
    candidate: Candidate
    rating: Rating
    kld: float
    lack: float
    is_whole: bool  # its loss is acceptable
    is_good: bool  # and it keeps the pace of the use
    min_tok_s: float | None = None  # that its plan was bound to, so that it does

    @property
    def merit(self) -> tuple[bool, bool, float, str]:
        """Greater is better; of equal ones the newer is."""
        lost = 0.0 if self.is_good else _POINTS_PER_HALVING * max(0.0, self.lack)
        points = self.rating.counted - lost
        return (self.is_good, self.is_whole, points, self.rating.released or "")


def choice_of(
    candidates: Sequence[Candidate],
    hardware: Hardware,
    goal: Goal,
    profiles: Profiles,
    rating: Rating,
) -> Choice | None:
    """As `balanced_choice`, unless that one is slow and another plan keeps the pace."""
    first = balanced_choice(candidates, hardware, goal, profiles, rating)
    if first is None or first.is_good:
        return first
    pace = profiles.workload(goal.use).decode_target_tok_s * _USUAL_PACE_RATIO
    faster = replace(goal, min_tok_s=max(pace, goal.min_tok_s or 0.0))
    second = balanced_choice(candidates, hardware, faster, profiles, rating)
    if second is None or not second.is_good:
        return first
    return replace(second, goal=goal, min_tok_s=faster.min_tok_s)


def balanced_choice(
    candidates: Sequence[Candidate],
    hardware: Hardware,
    goal: Goal,
    profiles: Profiles,
    rating: Rating,
) -> Choice | None:
    """`candidates`: one model in several quantizations. None: it doesn't fit, can't take the
    pins, or writes no text."""
    try:
        plan = choose(hardware, candidates, goal, profiles, explained=False)
    except (DoesNotFit, BadRequest):
        return None
    if plan.decode_tok_s is None:
        return None
    chosen = candidate_of(candidates, plan.file)
    kld = weight_kld(profiles.quality, chosen.quant, chosen.spec)
    is_whole = kld <= _acceptable(profiles)
    workload = profiles.workload(goal.use)
    lack = _lack(plan.decode_tok_s, plan.prefill_tok_s, workload)
    is_good = is_whole and lack <= 0
    return Choice(plan.model, goal, plan, chosen, rating, kld, lack, is_whole, is_good)


def best_of(
    models: Iterable[tuple[Sequence[Candidate], Rating]], hardware: Hardware, goal: Goal
) -> Choice | None:
    """On this machine. None: nothing fits."""
    return max(choices_of(models, hardware, goal), key=lambda one: one.merit, default=None)


def choices_of(
    models: Iterable[tuple[Sequence[Candidate], Rating]], hardware: Hardware, goal: Goal
) -> list[Choice]:
    """On this machine, of those that fit."""
    profiles = profiles_here()
    found = (choice_of(files, hardware, goal, profiles, rating) for files, rating in models)
    return [choice for choice in found if choice]


def promises(candidate: Candidate, hardware: Hardware, goal: Goal, profiles: Profiles) -> bool:
    """Whether the first plan that is found for one file is good already."""
    if weight_kld(profiles.quality, candidate.quant, candidate.spec) > _acceptable(profiles):
        return False
    seen = glance(hardware, candidate, goal, profiles)
    workload = profiles.workload(goal.use)
    return seen is not None and _lack(seen.decode_tok_s, seen.prefill_tok_s, workload) <= 0


def is_too_slow(candidate: Candidate, hardware: Hardware, goal: Goal, profiles: Profiles) -> bool:
    """Whether no plan for the file, however good, could keep the pace of the use."""
    pace = profiles.workload(goal.use).decode_target_tok_s * _USUAL_PACE_RATIO
    return not may_reach(hardware, candidate, goal, profiles, pace)


def keeps_pace(plan: Plan, workload: Workload) -> bool:
    """An embedding model writes nothing that could be late."""
    return plan.decode_tok_s is None or _lack(plan.decode_tok_s, plan.prefill_tok_s, workload) <= 0


def _lack(decode: Range, prefill: Range | None, workload: Workload) -> float:
    """How many times the pace, or the first word's, would have to double; not above zero where it
    need not. Without a figure for prompts nothing is promised."""
    if prefill is None:
        return inf
    pace = decode.p50 / (workload.decode_target_tok_s * _USUAL_PACE_RATIO)
    first_word_s = workload.n_prompt / prefill.p50
    delay = first_word_s / (workload.ttft_target_s * _USUAL_DELAY_RATIO)
    return max(-log2(pace), log2(delay)) if pace > 0 else inf


def _acceptable(profiles: Profiles) -> float:
    return profiles.quality.acceptable_kld


def best_on_disk(config: Config, hardware: Hardware, goal: Goal) -> Choice | None:
    """Of what was downloaded before, by us or by another tool."""
    return best_of(stored_models(config, "chat"), hardware, goal)


def stored_models(config: Config, kind: Kind) -> Iterator[tuple[Sequence[Candidate], Rating]]:
    """Each that is on this disk, in the quantizations that are."""
    stored = sorted(store_of(config).list(), key=lambda model: model.repo)
    for repo, models in groupby(stored, key=lambda model: model.repo):
        if candidates := stored_candidates(tuple(models)):
            yield candidates, _rating_of_repo(repo, candidates, kind)
    yield from _elsewhere(kind)


def _elsewhere(kind: Kind) -> Iterator[tuple[Sequence[Candidate], Rating]]:
    """Each that another tool has. A file of several names is one model, by the first of them."""
    there = {model.path.resolve(): model for model in reversed([*found_models()])}
    groups = sorted(there.values(), key=lambda model: (model.tool, model.group))
    for (_, group), models in groupby(groups, key=lambda model: (model.tool, model.group)):
        if candidates := found_candidates(models):
            yield candidates, _rating_of_name(group, candidates, kind)


def _rating_of_name(name: str, candidates: Sequence[Candidate], kind: Kind) -> Rating:
    """By the repository that it names, or the catalog's model: names there are as Ollama's."""
    with contextlib.suppress(BadRequest, ModelNotFound):
        match parse_reference(name):
            case CatalogReference() as reference:
                return ratings.rating(catalog.find(reference.name), kind)
            case HubReference(repo=repo):
                return _rating_of_repo(repo, candidates, kind)
    return ratings.rating_of_unknown(candidates[0].spec, kind)


def _rating_of_repo(repo: str, candidates: Sequence[Candidate], kind: Kind) -> Rating:
    """The catalog's, where it knows the repository."""
    for entry in catalog.load_catalog():
        if entry.repo and entry.repo.lower() == repo.lower():
            return ratings.rating(entry, kind)
    return ratings.rating_of_unknown(candidates[0].spec, kind)


def best_to_download(config: Config, hardware: Hardware, goal: Goal) -> Choice | None:
    """By the catalog alone: nobody is asked. Leaves out what the disk has no room for."""
    folder = folder_there(store_of(config).root)
    room = shutil.disk_usage(folder).free * _FREE_DISK_RATIO
    offered = (one for one in catalog.load_catalog() if one.family in _OFFERED_FAMILIES)
    models = (
        (
            [one for one in catalog_candidates(entry) if one.file_bytes <= room],
            ratings.rating(entry, "chat"),
        )
        for entry in offered
    )
    return best_of((model for model in models if model[0]), hardware, goal)
