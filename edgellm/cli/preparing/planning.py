"""The one way from a question to a plan: with the profiles, and with llama.cpp as oracle."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from edgellm.cli.preparing.tuned import Served, goal_with, with_batch
from edgellm.cli.preparing.tuned import find as find_tuned
from edgellm.errors import DoesNotFit
from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose, smaller
from edgellm.selector.oracle import Oracle
from edgellm.selector.plan import Candidate, Goal, Plan
from edgellm.selector.profiles import Profiles


def profiles_here() -> Profiles:
    """As this machine has corrected them by what it measured."""
    from edgellm.runner.calibration import Calibrations

    profiles = load_profiles()
    return replace(profiles, speed=Calibrations().applied(profiles.speed))


def planned(
    hardware: Hardware,
    candidates: Sequence[Candidate],
    goal: Goal,
    *,
    asks_oracle: bool = True,
    is_here: bool = True,
    machine_flags: str = "",
) -> Plan:
    """`is_here`: it is this machine; else `machine_flags` describe it, if it was by the command
    line. Raises DoesNotFit, BadRequest, ModelNotFound."""
    with oracle(asks_oracle, candidates) as asked:
        profiles = profiles_here() if is_here else load_profiles()
        return choose(hardware, candidates, goal, profiles, asked, machine_flags=machine_flags)


def planned_as_tuned(
    hardware: Hardware, candidates: Sequence[Candidate], goal: Goal, *, asks_oracle: bool = True
) -> Plan:
    """As `planned`, on this machine, with what `edgellm tune` measured where there is one file.
    Without it where it no longer fits: something else may have the memory by now."""
    first, tuned = candidates[0], None
    if len(candidates) == 1 and first.headers:
        tuned = find_tuned(hardware, first.headers, Served.of(first.spec, goal))
    if tuned is None:
        return planned(hardware, candidates, goal, asks_oracle=asks_oracle)
    measured = goal_with(tuned, goal)
    try:
        plan = planned(hardware, candidates, measured, asks_oracle=asks_oracle)
    except DoesNotFit:
        return planned(hardware, candidates, goal, asks_oracle=asks_oracle)
    plan = with_batch(tuned, plan)
    is_batch = plan.n_batch == tuned.best.n_batch
    said = tuned.sentence((*measured.tuned, "n_batch") if is_batch else measured.tuned)
    return replace(plan, reasons=(*plan.reasons, said)) if said else plan


def planned_smaller(
    failed: Plan, n_before: int, hardware: Hardware, candidates: Sequence[Candidate], goal: Goal
) -> Plan | None:
    """After `failed`, and `n_before` plans before it, ran out of memory on this machine. None:
    nothing smaller is left."""
    with oracle() as asked:
        return smaller(failed, hardware, candidates, goal, profiles_here(), asked, n_before)


@contextmanager
def oracle(is_wanted: bool = True, candidates: Sequence[Candidate] = ()) -> Iterator[Oracle | None]:
    """llama.cpp's own figures, in a child process that ends with the block. It starts with the
    first question that no cache answers, or at once where the only candidate is new to it."""
    if not is_wanted:
        yield None
        return
    from edgellm.runner.oracle.oracle import LlamaOracle

    with LlamaOracle() as asked:
        if len(candidates) == 1:
            asked.expect(candidates[0])
        yield asked
