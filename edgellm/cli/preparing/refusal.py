"""What is told when nothing fits: what was tried, and what would fit instead.

On this machine first: with less asked for, in another file of the same model, by another model.
Other machines come last, and in words only where the plan is for one that is described: whoever
asks for this one has no other at hand.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from edgellm.cli.flags.described import Described
from edgellm.cli.output import columns, print_json
from edgellm.cli.preparing.best import is_too_slow, keeps_pace
from edgellm.cli.preparing.planning import profiles_here
from edgellm.cli.preparing.resolve import catalog_candidates
from edgellm.cli.waiting import Waiting
from edgellm.errors import BadRequest, DoesNotFit, EdgellmError
from edgellm.models.names import CatalogReference, HubReference, parse_reference
from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Candidate, Goal, Plan, Rejected
from edgellm.selector.profiles import Profiles
from edgellm.selector.telling.describe import ranking
from edgellm.selector.telling.explain import rejected_table
from edgellm.selector.telling.instead import instead, sentence
from edgellm.selector.telling.plan_json import refusal_json
from edgellm.tables import bullets
from edgellm.values import frozen

_MOST_BOARDS = 3
_LOOKING = "looking for what would fit …"

_Found = Iterator[tuple[str, Plan]]  # by the change to the command


@frozen
class Asked:
    """What found no plan. `model`: as it was typed."""

    model: str
    described: Described
    hardware: Hardware
    candidates: Sequence[Candidate]
    goal: Goal


def tell_refusal(error: DoesNotFit, name: str, asked: Asked, *, as_json: bool) -> None:
    """On stdout; the error itself is `main`'s to say."""
    rejected: tuple[Rejected, ...] = getattr(error, "rejected", ())
    if as_json:
        with Waiting(lambda: _LOOKING):
            would_fit = dict(chain(_here(asked), _boards(asked)))
        print_json(refusal_json(name, error, rejected, would_fit))
        return
    if rejected:
        print("tried, the nearest first")
        print(
            "\n".join(f"  {line}" for line in rejected_table(rejected, columns() - 2).split("\n"))
        )
        print()
    boards = () if asked.described.is_here else _boards(asked)
    with Waiting(lambda: _LOOKING):
        told = [
            *(sentence(*found) for found in _here(asked)),
            *_further(asked),
            *(sentence(*found) for found in boards),
        ]
    if told:
        print("what would fit instead")
        print("\n".join(bullets(told, columns())), end="\n\n")


def _here(asked: Asked) -> _Found:
    """On the machine that was asked for: a flag that is let go, another file."""
    profiles = profiles_here() if asked.described.is_here else load_profiles()
    for one in instead(asked.hardware, asked.candidates, asked.goal, profiles):
        yield f"without {one.without}", one.plan
    yield from _other_files(asked, profiles)


def _other_files(asked: Asked, profiles: Profiles) -> _Found:
    """The best of the model's other quantizations, where one was named and the catalog knows
    them."""
    from edgellm.models.known import catalog

    reference = parse_reference(asked.model)
    if not isinstance(reference, CatalogReference) or not reference.quant:
        return
    others = [
        candidate
        for candidate in catalog_candidates(catalog.find(reference.name))
        if candidate.quant.upper() != reference.quant.upper()
    ]
    try:
        plan = choose(asked.hardware, others, asked.goal, profiles, explained=False)
    except (DoesNotFit, BadRequest):
        return
    yield f"as {reference.name}:{plan.quant}", plan


def _further(asked: Asked) -> Iterator[str]:
    """Commands that look further, on the same machine."""
    words, reference = asked.described.words, parse_reference(asked.model)
    if isinstance(reference, HubReference) and (reference.quant or reference.file):
        yield f"edgellm plan {reference.repo}{words}: all the files of the repository"
    if not asked.candidates[0].spec.is_embedding:
        yield f"{ranking(asked.goal, words)}: the models that this machine runs best"


def _boards(asked: Asked) -> _Found:
    """The smallest described machines that keep the pace of the use with it, as it was asked for;
    failing these, those that hold it."""
    from edgellm.probe.known.boards import board_names, hardware_from_board

    machines = sorted(
        ((name, hardware_from_board(name)) for name in board_names()),
        key=lambda named: sum(pool.total_bytes for pool in named[1].pools),
    )
    found = [*islice(_held_by(machines, asked, at_pace=True), _MOST_BOARDS)]
    yield from found or islice(_held_by(machines, asked, at_pace=False), _MOST_BOARDS)


def _held_by(machines: Sequence[tuple[str, Hardware]], asked: Asked, *, at_pace: bool) -> _Found:
    profiles = load_profiles()
    smallest = min(asked.candidates, key=lambda one: one.file_bytes)
    workload = profiles.workload(asked.goal.use)
    for name, hardware in machines:
        if at_pace and is_too_slow(smallest, hardware, asked.goal, profiles):
            continue
        try:
            plan = choose(hardware, [smallest], asked.goal, profiles, explained=False)
        except EdgellmError:
            continue
        if not at_pace or keeps_pace(plan, workload):
            yield f"--on {name}", plan
