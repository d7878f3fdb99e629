"""All that one server is to have, made ready: every one is chosen before any is downloaded."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from edgellm.cli.preparing import machine
from edgellm.cli.preparing.choosing import Chosen, chosen
from edgellm.cli.preparing.prepare import Prepared, fetched
from edgellm.cli.preparing.resolve import Resolved
from edgellm.errors import BadRequest, DoesNotFit
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Goal, Plan

_ONE_NAME = (
    "serve one by itself, with --port 0 beside the others; --name gives a single MODEL another name"
)


def prepare_all(
    models: Sequence[Resolved],
    hardware: Hardware,
    *,
    embedding: Resolved | None = None,
    name: str | None = None,
) -> tuple[Prepared, ...]:
    """The models and, beside the first one, the embedding model in what memory that leaves.

    Those that are pinned stay: they are planned first, one beside another. The others take turns in
    what these leave, each planned as if it were the only one; a single one, too, is there when it
    is asked for, where its settings say when it sleeps. `name` is the first one's.

    Raises as `prepare`, of any of them before anything is downloaded; BadRequest when the embedding
    model is none, or the first one is one already, or two would have one name.
    """
    turns = [i for i, one in enumerate(models) if not _is_pinned(one)] or [len(models) - 1]
    stays = [i for i in range(len(models)) if i not in turns]
    choices, beside = _chosen(models, (stays, turns), hardware, embedding)
    first_name = name or _name_of(choices[0])
    _check_names([first_name, *(_name_of(choices[i]) for i in range(1, len(models)))], beside)
    made, besides = _fetched(choices, (stays, turns), hardware, beside, name)
    if len(models) > 1:
        made |= {i: replace(one, sleeps=not one.is_pinned) for i, one in made.items()}
    return (*(made[i] for i in range(len(models))), *besides)


def _is_pinned(one: Resolved) -> bool:
    return bool(one.settings and one.settings.is_pinned)


def _name_of(choice: Chosen) -> str:
    settings = choice.resolved.settings
    return (settings.name if settings else None) or choice.wanted.name


def _chosen(
    models: Sequence[Resolved],
    order: tuple[list[int], list[int]],
    hardware: Hardware,
    embedding: Resolved | None,
) -> tuple[dict[int, Chosen], list[Chosen]]:
    """The models by number, and the embedding model: each that is not alone has a plan."""
    (stays, (first, *others)), left = order, hardware
    is_alone = len(models) == 1 and embedding is None
    n_turns = 1 + len(others)

    def choose(i: int, *, is_planned: bool = True) -> Chosen:
        settings = models[i].settings
        goal = replace(settings.goal if settings else Goal(), n_turns=n_turns)
        return chosen(models[i], left, goal, is_planned=is_planned)

    choices, beside, keeping = dict[int, Chosen](), list[Chosen](), list[str]()
    with _naming_pinned(keeping):
        for i in stays:
            choices[i] = choose(i)
            left = _without(left, choices[i].plan)
            keeping.append(_name_of(choices[i]))
        choices[first] = choose(first, is_planned=not is_alone)
        if embedding and (plan := choices[first].plan):
            beside = [_embedding_beside(plan, embedding, left, choices[first].goal)]
            left = _without(left, beside[0].plan)
        taking = [choices[first], *(choose(i) for i in others)]
    return choices | dict(zip((first, *others), _sharing(taking), strict=True)), beside


def _fetched(
    choices: Mapping[int, Chosen],
    order: tuple[list[int], list[int]],
    hardware: Hardware,
    beside: Sequence[Chosen],
    name: str | None,
) -> tuple[dict[int, Prepared], list[Prepared]]:
    (stays, (first, *others)), left = order, hardware
    made, keeping = dict[int, Prepared](), list[str]()
    with _naming_pinned(keeping):
        for i in stays:
            made[i] = fetched(choices[i], left, name=name if i == 0 else None)
            left = machine.without(left, made[i].plan)
            keeping.append(made[i].name)
        made[first] = fetched(choices[first], left, name=name if first == 0 else None)
        rest = machine.without(left, made[first].plan)
        besides = [replace(fetched(choice, rest), sleeps=False) for choice in beside]  # it stays
        for one in besides:  # a file may be another than its row in the catalog says
            _check_kinds(made[first].plan, one.plan)
        left = machine.without(left, besides[0].plan) if besides else left
        made |= {i: fetched(choices[i], left) for i in others}
    return made, besides


def _without(hardware: Hardware, plan: Plan | None) -> Hardware:
    return machine.without(hardware, plan) if plan else hardware


@contextmanager
def _naming_pinned(pinned: Sequence[str]) -> Iterator[None]:
    """What doesn't fit may fit once one of those makes place that never do; as many as there are
    when it turns out."""
    try:
        yield
    except DoesNotFit as error:
        if pinned:
            keep = "keeps its memory" if len(pinned) == 1 else "keep their memory"
            error.hint = f"{', '.join(pinned)} {keep} (pinned); {error.hint}".rstrip("; ")
        raise


def _sharing(choices: Sequence[Chosen]) -> list[Chosen]:
    """Each knows what the others take of the memory that is everybody's."""
    plans = [choice.plan for choice in choices]
    host_bytes = [plan.shares[-1].total_bytes + plan.layout_bytes if plan else 0 for plan in plans]
    return [
        replace(choice, goal=replace(choice.goal, others_bytes=sum(host_bytes) - own_bytes))
        for choice, own_bytes in zip(choices, host_bytes, strict=True)
    ]


def _embedding_beside(first: Plan, embedding: Resolved, hardware: Hardware, goal: Goal) -> Chosen:
    """With its plan. `goal` is the first one's."""
    own_goal = Goal(
        reserve_bytes=goal.reserve_bytes,
        n_threads=goal.n_threads,
        batch_invariant=goal.batch_invariant,
    )
    wanted = embedding.settings.goal if embedding.settings else own_goal
    choice = chosen(embedding, machine.without(hardware, first), wanted, is_planned=True)
    assert choice.plan is not None
    _check_kinds(first, choice.plan)
    return choice


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


def _check_names(models: Sequence[str], beside: Sequence[Chosen]) -> None:
    """Clients ask by name. Raises BadRequest."""
    names = [*models, *map(_name_of, beside)]
    n_called = Counter(name.casefold() for name in names)
    for name in names:
        if n_called[name.casefold()] > 1:
            raise BadRequest(
                f"two would be called {name}, and clients could ask for one only", hint=_ONE_NAME
            )
