"""`edgellm plan`: what would run how, on this machine or on one that is only described."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import options
from edgellm.cli.flags.described import ALL_BOARDS, Described
from edgellm.cli.flags.drafting import Drafting
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.pins import Pins
from edgellm.cli.flags.seeing import Seeing
from edgellm.cli.preparing.sizes import Users

if TYPE_CHECKING:
    from edgellm.cli.preparing.requested import RequestedModel
    from edgellm.cli.preparing.resolve import Resolved
    from edgellm.probe.hardware import Hardware
    from edgellm.selector.plan import Candidate, Goal, Plan


def plan(
    model: options.ModelArgument,
    pins: Pins,
    described: Described,
    users: Users,
    seeing: Seeing,
    drafting: Drafting,
    no_oracle: Annotated[
        bool, typer.Option("--no-oracle", help="Arithmetic only; llama.cpp isn't asked.")
    ] = False,
    as_json: options.AsJSON = False,
    offline: options.Offline = False,
) -> None:
    """Show what would run, and how fast, before it is downloaded.

    The file, its context, memory and speed, what can be traded for what, and the best of what was
    not chosen. A flag pins its part of the plan, the rest is chosen around it. Of a repository only
    the headers are read; a catalog name needs no network. With --users: which machines hold so many
    users, and how many of each.

    \b
      edgellm plan qwen3:8b
      edgellm plan qwen3:30b-a3b --on rtx4090 --goal quality
      edgellm plan ./m.gguf --device RTX3090 --device RTX3060 --ram 64GiB@60
      edgellm plan unsloth/Qwen3-8B-GGUF --ctx 32768 --json
      edgellm plan llama3.3:70b --users 50 --tok-s 20 --ttft 1s --on all
    """
    from edgellm.cli.preparing.requested import RequestedModel
    from edgellm.cli.waiting import Waiting

    draft = drafting.named(pins)
    config = options.config_from(offline=offline, reserve=pins.reserve, draft=draft)
    pins.goal(config.reserve)  # what can't be is told before anything is looked for
    described.check()
    if not users.are_many:
        described.check_one_machine()
    one = RequestedModel.of(
        model, config, ModelOptions(pins=pins, drafting=drafting, seeing=seeing)
    )
    users.check(pins)
    with Waiting(lambda: f"reading about {model} …"):
        found = one.resolved(plan_only=True)
    found = one.with_extras(found)  # which may tell what it leaves out
    if users.are_many:
        goal = replace(one.settings.goal, n_parallel=None, n_ctx=None)  # --users says them
        _sizes(found, goal, described, users, as_json)
    else:
        _one_plan(one, found, described, not no_oracle, as_json)


def _one_plan(
    one: "RequestedModel",
    found: "Resolved",
    described: Described,
    asks_oracle: bool,
    as_json: bool,
) -> None:
    from edgellm.cli.output import columns, print_json
    from edgellm.cli.preparing.requested import as_served
    from edgellm.cli.waiting import Waiting
    from edgellm.errors import DoesNotFit
    from edgellm.selector.telling.explain import explain
    from edgellm.selector.telling.plan_json import plan_json

    hardware, model, goal = described.hardware(), one.name, one.settings.goal
    candidates: Sequence[Candidate] = found.candidates
    try:
        with one.settings.naming_table(), Waiting(lambda: f"planning {model} …"):
            candidates, goal = as_served(found, hardware, goal)
            made = _made(described, hardware, candidates, goal, asks_oracle=asks_oracle)
            made = one.settings.told(made)
    except DoesNotFit as error:
        from edgellm.cli.preparing.refusal import Asked, tell_refusal

        asked = Asked(model, described, hardware, candidates, goal)
        tell_refusal(error, found.name, asked, as_json=as_json)
        raise
    if as_json:
        print_json(plan_json(made))
    else:
        print(explain(made, hardware, columns()), end="")


def _made(
    described: Described,
    hardware: "Hardware",
    candidates: "Sequence[Candidate]",
    goal: "Goal",
    *,
    asks_oracle: bool,
) -> "Plan":
    from edgellm.cli.preparing.planning import planned, planned_as_tuned

    if described.is_here:
        return planned_as_tuned(hardware, candidates, goal, asks_oracle=asks_oracle)
    return planned(
        hardware,
        candidates,
        goal,
        asks_oracle=asks_oracle,
        is_here=False,
        machine_flags=described.words,
    )


def _sizes(
    found: "Resolved", goal: "Goal", described: Described, users: Users, as_json: bool
) -> None:
    from edgellm.cli.flags.drafting import with_drafts
    from edgellm.cli.output import columns, print_json, say
    from edgellm.cli.preparing.planning import profiles_here
    from edgellm.cli.preparing.sizes import boards_of, sizes_json, sizes_table
    from edgellm.cli.waiting import Waiting
    from edgellm.errors import DoesNotFit
    from edgellm.profiles import load_profiles
    from edgellm.selector.sizing import size

    boards = boards_of(described.on) if described.on else [("this machine", described.hardware())]
    demand = users.demand()
    candidates, goal = with_drafts(found, boards[0][1], goal)
    with Waiting(lambda: f"sizing {len(boards)} machine{'s' if len(boards) > 1 else ''} …"):
        profiles = profiles_here() if described.is_here else load_profiles()
        rows = size(boards, candidates, demand, goal, profiles)
    if as_json:
        print_json(sizes_json(found.name, rows, demand))
    elif rows:
        print(sizes_table(found.name, rows, demand, columns()))
    if rows and ALL_BOARDS not in (described.on or ()):
        held_by = {row.board for row in rows}
        if others := [name for name, _ in boards if name not in held_by]:
            say(f"left out, which serve not even one user as asked: {', '.join(others)}")
    if not rows:
        (first, _), n = boards[0], len(boards)
        holds = f"none of {n} machines holds" if n > 1 else f"{first} doesn't hold"
        raise DoesNotFit(
            f"{holds} even one user of {found.name} at {demand.tok_s:g} tok/s",
            hint="ask for less: a smaller --tok-s, a longer --ttft, a shorter --ctx",
        )
