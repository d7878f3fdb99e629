"""All that one server is to have, made ready: every one is chosen before any is downloaded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import inf

from edgellm.cli.preparing import machine
from edgellm.cli.preparing.choosing import Chosen, chosen
from edgellm.cli.preparing.prepare import Prepared, fetched
from edgellm.cli.preparing.resolve import Resolved
from edgellm.errors import BadRequest
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Goal, Plan

_ONE_NAME = (
    "serve one by itself, with --port 0 beside the others; --name gives a single MODEL another name"
)


def prepare_all(
    models: Sequence[Resolved],
    hardware: Hardware,
    goal: Goal,
    *,
    embedding: Resolved | None = None,
    name: str | None = None,
    keep_s: float | None = None,
) -> tuple[Prepared, ...]:
    """The models and, beside the first one, the embedding model in what memory that leaves.

    Several take turns in memory, each planned as if it were the only one. With `keep_s` a single
    one, too, is there when it is asked for, and an idle one goes after so long. `name` is the first
    one's.

    Raises as `prepare`, of any of them before anything is downloaded; BadRequest when the embedding
    model is none, or the first one is one already, or two would have one name.
    """
    goal = replace(goal, n_turns=len(models))
    choices = _chosen(models, hardware, goal, embedding)
    names = [name or choices[0].wanted.name, *(choice.wanted.name for choice in choices[1:])]
    _check_names(names)
    turns, beside = _sharing(choices[: len(models)]), choices[len(models) :]
    first = fetched(turns[0], hardware, name=name)
    left = machine.without(hardware, first.plan)
    besides = [fetched(choice, left) for choice in beside]
    for one in besides:  # a file may be another than its row in the catalog says
        _check_kinds(first.plan, one.plan)
    left = machine.without(hardware, besides[0].plan) if besides else hardware
    others = [fetched(choice, left) for choice in turns[1:]]
    takes_turns = keep_s is not None or bool(others)
    idles_s = inf if keep_s is None else keep_s
    turned = (replace(one, sleeps=takes_turns, keep_s=idles_s) for one in (first, *others))
    return (*turned, *besides)


def _chosen(
    models: Sequence[Resolved], hardware: Hardware, goal: Goal, embedding: Resolved | None
) -> list[Chosen]:
    """Of the models, then of the embedding model: each that is not alone has a plan."""
    is_alone = len(models) == 1 and embedding is None
    first = chosen(models[0], hardware, goal, is_planned=not is_alone)
    if embedding is None or first.plan is None:
        others = [chosen(one, hardware, goal, is_planned=True) for one in models[1:]]
        return [first, *others]
    beside, plan = _embedding_beside(first.plan, embedding, hardware, goal)
    left = machine.without(hardware, plan)
    others = [chosen(one, left, goal, is_planned=True) for one in models[1:]]
    return [first, *others, beside]


def _sharing(choices: Sequence[Chosen]) -> list[Chosen]:
    """Each knows what the others take of the memory that is everybody's."""
    host_bytes = [choice.plan.shares[-1].total_bytes if choice.plan else 0 for choice in choices]
    return [
        replace(choice, goal=replace(choice.goal, others_bytes=sum(host_bytes) - own_bytes))
        for choice, own_bytes in zip(choices, host_bytes, strict=True)
    ]


def _embedding_beside(
    first: Plan, embedding: Resolved, hardware: Hardware, goal: Goal
) -> tuple[Chosen, Plan]:
    """With its plan."""
    own_goal = Goal(
        reserve_bytes=goal.reserve_bytes,
        n_threads=goal.n_threads,
        batch_invariant=goal.batch_invariant,
    )
    left = machine.without(hardware, first)
    choice = chosen(embedding, left, own_goal, is_planned=True)
    assert choice.plan is not None
    _check_kinds(first, choice.plan)
    return choice, choice.plan


def _check_kinds(first: Plan, second: Plan) -> None:
    """Raises BadRequest for an embedding model that is none, or is one beside another."""
    if first.embedding:
        raise BadRequest(
            f"{first.model} is an embedding model itself, and one is served at a time",
            hint="leave --embedding out, or name a generative MODEL",
        )
    if not second.embedding:
        raise BadRequest(
            f"{second.model} writes text; it is no embedding model",
            hint="edgellm serve MODEL --embedding qwen3-embedding:0.6b",
        )


def _check_names(names: Sequence[str]) -> None:
    """Clients ask by name. Raises BadRequest."""
    n_called = Counter(name.casefold() for name in names)
    for name in names:
        if n_called[name.casefold()] > 1:
            raise BadRequest(
                f"two would be called {name}, and clients could ask for one only", hint=_ONE_NAME
            )
