"""`edgellm tune MODEL`: measures what can be set without changing an answer, and keeps the best."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import options
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.pins import Pins

if TYPE_CHECKING:
    from edgellm.cli.measuring.trials import Tuning
    from edgellm.cli.preparing.prepare import Prepared
    from edgellm.cli.preparing.tuned import Tuned
    from edgellm.probe.hardware import Hardware
    from edgellm.selector.plan import Goal
    from edgellm.selector.profiles import Workload


_BUSY_RATIO = 0.1


def tune(
    model: options.ModelArgument,
    pins: Pins,
    power: Annotated[
        bool,
        typer.Option("--power", help="Instead: energy a token at each power limit of the cards."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Don't ask before limits are moved.")
    ] = False,
    as_json: options.AsJSON = False,
    offline: options.Offline = False,
) -> None:
    """Measure which settings are fastest here, and keep them.

    Threads, batch, micro-batch, flash attention and, over several devices, the split: what changes
    how soon an answer comes, not which. Each variation is measured in turn with the best so far, so
    that a machine whose pace drifts misleads nobody; nothing else should use it meanwhile all the
    same. Speeds are measured after as many tokens as a request of the --use has. `serve`, `run`,
    `up` and `plan` then use the best for that --use and as many conversations, and say so; a flag
    goes before it. Ctrl-C keeps nothing.

    With --power: joules a token against the cards' power limit, with a plot. The limits are moved
    while it measures, which needs root, and are back at the end; nothing stays changed.

    \b
      edgellm tune qwen3:8b
      edgellm tune ./model.gguf --use agent --json
      sudo -E edgellm tune qwen3:8b --power
    """
    from edgellm.cli.preparing import machine
    from edgellm.cli.preparing.prepare import prepare
    from edgellm.cli.preparing.requested import RequestedModel
    from edgellm.cli.preparing.resolve import resolve
    from edgellm.errors import BadRequest

    config = options.config_from(offline=offline, reserve=pins.reserve)
    pins.goal(config.reserve)  # what can't be is told before anything is looked for
    hardware = machine.look()
    one = RequestedModel.of(model, config, ModelOptions(pins=pins))
    goal, found = one.settings.goal, one.with_extras(resolve(model, config))
    prepared = prepare(found, hardware, goal, uses_tuned=False)
    if prepared.plan.embedding:
        raise BadRequest(
            f"{prepared.name} is an embedding model: there is nothing that tune could vary",
            hint="edgellm bench measures a model that writes",
        )
    if power:
        _tune_power(prepared, hardware, asks=not yes, as_json=as_json)
    else:
        _tune(prepared, hardware, goal, as_json=as_json)


def _tune(prepared: "Prepared", hardware: "Hardware", goal: "Goal", *, as_json: bool) -> None:
    from edgellm.cli.measuring.tune_report import summary
    from edgellm.cli.output import print_json, say

    _warn_of_servers()
    say(f"measuring {prepared.name} {prepared.plan.quant}; Ctrl-C leaves everything as it is")
    try:
        tuned, tuning = _measured(prepared, hardware, goal)
    except KeyboardInterrupt:
        say("stopped: nothing was kept")
        raise
    if as_json:
        print_json({"tuned": tuned, "first": tuning.first, "bouts": tuning.bouts})
    else:
        print(summary(tuned, tuning, _workload(goal)))
    if tuned.scatter_ratio > _BUSY_RATIO:
        say(
            f"comparisons scatter by {tuned.scatter_ratio:.0%}: this machine is busy, and smaller "
            "gains were not seen; measure again when it is idle"
        )


def _warn_of_servers() -> None:
    from edgellm.cli.output import say
    from edgellm.cli.serving import state

    if urls := [server.url for server in state.running()]:
        stop = "edgellm stop" if len(urls) == 1 else "edgellm stop --all"
        say(
            f"a server is running ({', '.join(urls)}): its memory is taken and its work slows what "
            f"is measured; {stop}, or measure while nobody asks it"
        )


def _tune_power(prepared: "Prepared", hardware: "Hardware", *, asks: bool, as_json: bool) -> None:
    from edgellm.cli.measuring import power
    from edgellm.cli.output import agrees, is_terminal, print_json, say
    from edgellm.errors import BadRequest
    from edgellm.meter.energy.power_limit import limits_of
    from edgellm.meter.sensors import sampler_for
    from edgellm.probe.sources import SystemSources

    used = {share.device_id for share in prepared.plan.shares}
    devices = [device for device in hardware.accelerators if device.id in used]
    cards = power.Cards.of(limits_of(devices, SystemSources()))
    limits = ", ".join(f"{cards.watts(ratio):.0f}" for ratio in cards.ratios)
    if asks:
        if not is_terminal():
            raise BadRequest(
                f"this would move the power limit of {len(devices)} card(s) to {limits} W",
                hint="say that you want it: --yes",
            )
        if not agrees(f"move the power limit to {limits} W in turn, and back?", usually=False):
            return
    cards.try_out()
    say("should it be killed by force, this moves them back:")
    for command in cards.commands_back():
        say(f"  {command}")
    points = power.measure(prepared.path, prepared.plan, cards, sampler_for(hardware), say)
    print_json({"points": power.rows(points)}) if as_json else print(power.report(points, cards))


def _measured(prepared: "Prepared", hardware: "Hardware", goal: "Goal") -> tuple["Tuned", "Tuning"]:
    from datetime import date
    from statistics import median

    from edgellm.cli.measuring.trials import run_trials
    from edgellm.cli.measuring.tune_report import Watch
    from edgellm.cli.preparing import tuned as store
    from edgellm.selector.bouts import middle, scatter_ratio
    from edgellm.selector.knobs import Knobs
    from edgellm.selector.memory.budget import pool_budgets
    from edgellm.selector.tuning import axes, fewest_matches, holds_two

    plan, workload = prepared.plan, _workload(goal)
    start, budgets = Knobs.of(plan), pool_budgets(hardware, goal.reserve_bytes)
    tried = axes(plan, goal, hardware, workload)
    watch = Watch(start, fewest_matches(tried, start), workload)
    tuning = run_trials(
        prepared.path, plan, tried, workload, watch, has_room=holds_two(plan, budgets)
    )
    gain_ratio, samples = 0.0, tuning.first
    if tuning.best != start:
        final = tuning.bouts[-1]
        gain_ratio = 1 - median(final.ratios(workload))
        samples = tuple(challenger for _, challenger in final.pairs)
    figures = middle(samples)
    tuned = store.Tuned(
        model=prepared.name,
        quant=plan.quant,
        date=date.today().isoformat(),
        served=store.Served.of(prepared.spec, goal),
        best=tuning.best,
        start=start,
        decode_tok_s=round(figures.decode_tok_s, 2),
        prefill_tok_s=round(figures.prefill_tok_s, 2),
        gain_ratio=round(gain_ratio, 4),
        scatter_ratio=round(scatter_ratio(tuning.bouts, workload), 4),
    )
    store.keep(tuned, hardware, prepared.headers)
    return tuned, tuning


def _workload(goal: "Goal") -> "Workload":
    from edgellm.profiles import load_profiles

    return load_profiles().workload(goal.use)
