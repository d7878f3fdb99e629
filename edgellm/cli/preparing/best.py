"""The model that suits this machine best, when nobody named one.

A use needs a pace and a first word in time (profiles/workloads), and there is a loss that is still
acceptable (profiles/quality). Among the models that keep all three, the one with the most
parameters; when none does, the fastest. Within a model the selector has already chosen the
quantization.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from edgellm.cli.preparing.planning import profiles_here
from edgellm.cli.preparing.resolve import catalog_candidates, stored_candidates
from edgellm.cli.preparing.store import store_of
from edgellm.config import Config
from edgellm.errors import BadRequest, DoesNotFit
from edgellm.probe.hardware import Hardware
from edgellm.selector.choose import choose
from edgellm.selector.plan import Candidate, Goal, Plan, Range
from edgellm.selector.profiles import Profiles, Workload
from edgellm.selector.quality import weight_kld
from edgellm.selector.search.glance import glance, may_reach
from edgellm.values import frozen

# What is offered unasked: one family in every size, Apache-2.0, on the hub for everyone.
_OFFERED_FAMILIES = ("qwen3", "gpt-oss")
_USUAL_PACE_RATIO = 0.5  # of the use's target: ten tokens a second is still faster than reading
_USUAL_DELAY_RATIO = 10.0  # of the target for the first word: a long question may take a while
_FREE_DISK_RATIO = 0.8  # a download that fills the disk helps nobody


@frozen
class Choice:
    """One model, in the quantization and placement that suit it. `kld`: what its weights lose."""

    name: str
    goal: Goal
    plan: Plan
    candidate: Candidate
    kld: float
    is_whole: bool  # its loss is acceptable
    is_good: bool  # and it keeps the pace of the use

    @property
    def merit(self) -> tuple[bool, bool, float]:
        """Greater is better."""
        pace = self.plan.decode_tok_s.p50 if self.plan.decode_tok_s else 0.0
        size = float(self.candidate.spec.n_params)
        return (self.is_good, self.is_whole, size if self.is_good else pace)


def choice_of(
    candidates: Sequence[Candidate], hardware: Hardware, goal: Goal, profiles: Profiles
) -> Choice | None:
    """As `balanced_choice`, unless that one is slow and another plan keeps the pace."""
    first = balanced_choice(candidates, hardware, goal, profiles)
    if first is None or first.is_good:
        return first
    pace = profiles.workload(goal.use).decode_target_tok_s * _USUAL_PACE_RATIO
    faster = replace(goal, min_tok_s=max(pace, goal.min_tok_s or 0.0))
    second = balanced_choice(candidates, hardware, faster, profiles)
    return replace(second, goal=goal) if second and second.is_good else first


def balanced_choice(
    candidates: Sequence[Candidate], hardware: Hardware, goal: Goal, profiles: Profiles
) -> Choice | None:
    """`candidates`: one model in several quantizations. None: it doesn't fit, can't take the
    pins, or writes no text."""
    try:
        plan = choose(hardware, candidates, goal, profiles, explained=False)
    except (DoesNotFit, BadRequest):
        return None
    if plan.decode_tok_s is None:
        return None
    chosen = next(one for one in candidates if one.file == plan.file)
    kld = weight_kld(profiles.quality, chosen.quant, chosen.spec)
    is_whole = kld <= _acceptable(profiles)
    workload = profiles.workload(goal.use)
    is_good = is_whole and _keeps_pace(plan.decode_tok_s, plan.prefill_tok_s, workload)
    return Choice(plan.model, goal, plan, chosen, kld, is_whole, is_good)


def best_of(models: Iterable[Sequence[Candidate]], hardware: Hardware, goal: Goal) -> Choice | None:
    """On this machine. None: nothing fits."""
    profiles = profiles_here()
    found = (choice_of(candidates, hardware, goal, profiles) for candidates in models)
    return max((choice for choice in found if choice), key=lambda one: one.merit, default=None)


def promises(candidate: Candidate, hardware: Hardware, goal: Goal, profiles: Profiles) -> bool:
    """Whether the first plan that is found for one file is good already."""
    if weight_kld(profiles.quality, candidate.quant, candidate.spec) > _acceptable(profiles):
        return False
    seen = glance(hardware, candidate, goal, profiles)
    workload = profiles.workload(goal.use)
    return seen is not None and _keeps_pace(seen.decode_tok_s, seen.prefill_tok_s, workload)


def is_too_slow(candidate: Candidate, hardware: Hardware, goal: Goal, profiles: Profiles) -> bool:
    """Whether no plan for the file, however good, could keep the pace of the use."""
    pace = profiles.workload(goal.use).decode_target_tok_s * _USUAL_PACE_RATIO
    return not may_reach(hardware, candidate, goal, profiles, pace)


def _keeps_pace(decode: Range | None, prefill: Range | None, workload: Workload) -> bool:
    if decode is None or prefill is None:
        return False
    first_word_s = workload.n_prompt / prefill.p50
    return (
        decode.p50 >= workload.decode_target_tok_s * _USUAL_PACE_RATIO
        and first_word_s <= workload.ttft_target_s * _USUAL_DELAY_RATIO
    )


def _acceptable(profiles: Profiles) -> float:
    return profiles.quality.acceptable_kld


def best_on_disk(config: Config, hardware: Hardware, goal: Goal) -> Choice | None:
    """Of what was downloaded before, by us or by another tool."""
    stored = sorted(store_of(config).list(), key=lambda model: model.repo)
    by_repo = (tuple(models) for _, models in groupby(stored, key=lambda model: model.repo))
    return best_of((stored_candidates(models) for models in by_repo), hardware, goal)


def best_to_download(config: Config, hardware: Hardware, goal: Goal) -> Choice | None:
    """By the catalog alone: nobody is asked. Leaves out what the disk has no room for."""
    from edgellm.models.known import catalog

    room = _free_disk_bytes(store_of(config).root) * _FREE_DISK_RATIO
    offered = (
        entry
        for entry in catalog.load_catalog()
        if entry.name.partition(":")[0] in _OFFERED_FAMILIES
    )
    models = (
        [one for one in catalog_candidates(entry) if one.file_bytes <= room] for entry in offered
    )
    return best_of((candidates for candidates in models if candidates), hardware, goal)


def _free_disk_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
