"""Which file of a name is served, decided before anything is downloaded.

By a catalog's row or by headers, local or remote, and by arithmetic alone: what doesn't fit is
refused here, while it costs nothing.
"""

from edgellm.cli.flags.drafting import draft_goal, with_drafts
from edgellm.cli.preparing.model_settings import ModelSettings
from edgellm.cli.preparing.planning import planned
from edgellm.cli.preparing.resolve import Resolved
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Candidate, Goal, Plan, candidate_of
from edgellm.values import frozen


@frozen
class Chosen:
    """`plan`: as far as it is known by then; None for the only file, which is here, where nobody
    asked for one."""

    resolved: Resolved
    wanted: Candidate
    goal: Goal
    draft: "Chosen | None" = None
    plan: Plan | None = None


def chosen(
    resolved: Resolved, hardware: Hardware, goal: Goal, *, is_planned: bool = False
) -> Chosen:
    """Raises DoesNotFit, BadRequest."""
    with (resolved.settings or ModelSettings(goal)).naming_table():
        return _chosen(resolved, hardware, goal, is_planned)


def _chosen(resolved: Resolved, hardware: Hardware, goal: Goal, is_planned: bool) -> Chosen:
    candidates, goal = with_drafts(resolved, hardware, goal)
    draft = _named(resolved.draft, candidates[0]) if resolved.draft else None
    if len(candidates) == 1 and resolved.is_local and not is_planned:
        return Chosen(resolved, resolved.candidates[0], goal, draft)
    plan = planned(hardware, candidates, goal, asks_oracle=False)
    wanted = candidate_of(resolved.candidates, plan.file)
    return Chosen(resolved, wanted, goal, draft, plan)


def _named(draft: Resolved, candidate: Candidate) -> Chosen | None:
    """The draft model that was chosen for it."""
    file = candidate.draft
    if file is None:
        return None
    return Chosen(draft, candidate_of(draft.candidates, file.path), draft_goal())
