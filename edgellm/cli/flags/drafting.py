"""A second, smaller model that guesses for the first: the flag, and what comes of it."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from edgellm.cli.flags import completing
from edgellm.values import frozen

if TYPE_CHECKING:
    from edgellm.cli.flags.pins import Pins
    from edgellm.cli.preparing.resolve import Resolved
    from edgellm.config import Config
    from edgellm.probe.hardware import Hardware
    from edgellm.selector.plan import Candidate, Goal


@frozen(kw_only=True)
class Drafting:
    HEADINGS: ClassVar = {"draft": "A draft model"}

    draft: Annotated[
        str | None,
        typer.Option(
            help="A small model with the same vocabulary that guesses tokens.",
            metavar="MODEL",
            autocompletion=completing.models,
        ),
    ] = None

    def given(self) -> tuple[str, ...]:
        """The flags that were set, as a user writes them."""
        return (f"--draft {shlex.quote(self.draft)}",) if self.draft else ()

    def named(self, pins: "Pins") -> str | None:
        """For the configuration: None leaves it to the file; "" is none, whatever the file says,
        since who names another guesser wants no draft model. Raises BadRequest for both at once."""
        from edgellm.errors import BadRequest

        if self.draft and pins.speculate in ("mtp", "ngram"):
            raise BadRequest(
                f"--draft {self.draft} and --speculate {pins.speculate} exclude each other: one of "
                "them guesses",
                hint="leave one of them out; --draft alone is --speculate draft",
            )
        return "" if pins.speculate in ("mtp", "ngram", "off") else self.draft


def with_draft(resolved: "Resolved", config: "Config", *, plan_only: bool = False) -> "Resolved":
    """Beside the draft model that the flag, the environment or the file names.

    Raises BadRequest, ModelNotFound, BadGGUF, NetworkError, StorageError.
    """
    if not config.draft:
        return resolved
    from edgellm.cli.preparing.resolve import resolve

    return replace(resolved, draft=resolve(config.draft, config, plan_only=plan_only))


def with_drafts(
    resolved: "Resolved", hardware: "Hardware", goal: "Goal"
) -> "tuple[Sequence[Candidate], Goal]":
    """The candidates with the draft model that they would be served with, and the goal that asks
    for its guesses. Nothing is downloaded. Raises DoesNotFit, BadRequest."""
    if resolved.draft is None or goal.speculate == "off":
        return resolved.candidates, goal
    _check_vocabulary(resolved.draft, resolved)
    from edgellm.cli.preparing.planning import planned
    from edgellm.selector.plan import DraftFile, candidate_of

    small = resolved.draft.candidates
    chosen = planned(hardware, small, draft_goal(), asks_oracle=False).file
    file = DraftFile(chosen, candidate_of(small, chosen).spec)
    candidates = [replace(one, draft=file) for one in resolved.candidates]
    return candidates, replace(goal, speculate="draft")


def _check_vocabulary(draft: "Resolved", target: "Resolved") -> None:
    """By its size; what its words are is compared when both are loaded. Raises BadRequest."""
    from edgellm.errors import BadRequest
    from edgellm.models.spec import MAX_VOCAB_DIFFERENCE

    n_draft, n_target = (one.candidates[0].spec.n_vocab for one in (draft, target))
    if abs(n_draft - n_target) > MAX_VOCAB_DIFFERENCE:
        raise BadRequest(
            f"{draft.name} can't guess for {target.name}: it has {n_draft} tokens, the other "
            f"{n_target}",
            hint="take a smaller model of the same family",
        )


def draft_goal() -> "Goal":
    """Whose guesses are checked anyway may lose something for its speed."""
    from edgellm.selector.plan import Goal

    return Goal(objective="speed")
