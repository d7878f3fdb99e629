"""What is told when nothing fits: what was tried, and what would fit instead."""

from collections.abc import Iterator, Sequence

from edgellm.cli.output import columns, print_json
from edgellm.errors import DoesNotFit, EdgellmError
from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Candidate, Goal, Plan, Rejected
from edgellm.selector.telling.explain import rejected_table
from edgellm.selector.telling.instead import instead, sentence
from edgellm.selector.telling.plan_json import refusal_json
from edgellm.tables import bullets

_MOST_BOARDS = 3


def tell_refusal(
    error: DoesNotFit,
    name: str,
    hardware: Hardware,
    candidates: Sequence[Candidate],
    goal: Goal,
    *,
    as_json: bool,
) -> None:
    """On stdout; the error itself is `main`'s to say."""
    rejected: tuple[Rejected, ...] = getattr(error, "rejected", ())
    if as_json:
        would_fit = dict(_would_fit(hardware, candidates, goal))
        print_json(refusal_json(name, error, rejected, would_fit))
        return
    if rejected:
        print("tried, the nearest first")
        print(
            "\n".join(f"  {line}" for line in rejected_table(rejected, columns() - 2).split("\n"))
        )
        print()
    sentences = [sentence(*found) for found in _would_fit(hardware, candidates, goal)]
    if sentences:
        print("what would fit instead")
        print("\n".join(bullets(sentences, columns())), end="\n\n")


def _would_fit(
    hardware: Hardware, candidates: Sequence[Candidate], goal: Goal
) -> Iterator[tuple[str, Plan]]:
    """By the change to the command: a flag that is let go, another machine."""
    for one in instead(hardware, candidates, goal, load_profiles()):
        yield f"without {one.without}", one.plan
    yield from _boards(candidates, goal)


def _boards(candidates: Sequence[Candidate], goal: Goal) -> Iterator[tuple[str, Plan]]:
    """The smallest described machines that hold it, as it was asked for."""
    from edgellm.probe.known.boards import board_names, hardware_from_board

    machines = sorted(
        ((name, hardware_from_board(name)) for name in board_names()),
        key=lambda named: sum(pool.total_bytes for pool in named[1].pools),
    )
    smallest = min(candidates, key=lambda one: one.file_bytes)
    n_found = 0
    for name, hardware in machines:
        try:
            plan = choose(hardware, [smallest], goal, load_profiles())
        except EdgellmError:
            continue
        yield f"--on {name}", plan
        n_found += 1
        if n_found == _MOST_BOARDS:
            return
