"""`edgellm tune MODEL`: measures what can be set without changing an answer, and keeps the best."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import options
from edgellm.cli.flags.pins import Pins

if TYPE_CHECKING:
    from edgellm.cli.preparing.prepare import Prepared
    from edgellm.cli.preparing.tuned import Tuned
    from edgellm.probe.hardware import Hardware
    from edgellm.selector.plan import Goal
    from edgellm.selector.tuning import Knobs, Trial


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
    how soon an answer comes, not which. Each variation is loaded and measured for some seconds;
    nothing else should use the machine meanwhile. Measured is after as many tokens as a request
    of the --use has; each line says how many. `serve`, `run`, `up` and `plan` then use the best and
    say so; a flag goes before it. Ctrl-C keeps nothing.

    With --power: joules a token against the cards' power limit, with a plot. The limits are moved
    while it measures, which needs root, and are back at the end; nothing stays changed.

    \b
      edgellm tune qwen3:8b
      edgellm tune ./model.gguf --use agent --json
      sudo -E edgellm tune qwen3:8b --power
    """
    from edgellm.cli.output import print_json, say
    from edgellm.cli.preparing import machine
    from edgellm.cli.preparing.prepare import prepare
    from edgellm.cli.preparing.resolve import resolve
    from edgellm.errors import BadRequest

    config = options.config_from(offline=offline, reserve=pins.reserve)
    goal = pins.goal(config.reserve)
    hardware = machine.look()
    prepared = prepare(resolve(model, config), hardware, goal, uses_tuned=False)
    if prepared.plan.embedding:
        raise BadRequest(
            f"{prepared.name} is an embedding model: there is nothing that tune could vary",
            hint="edgellm bench measures a model that writes",
        )
    if power:
        _tune_power(prepared, hardware, asks=not yes, as_json=as_json)
        return
    _warn_of_servers()
    say(f"measuring {prepared.name} {prepared.plan.quant}; Ctrl-C leaves everything as it is")
    try:
        tuned, trials = _measured(prepared, hardware, goal)
    except KeyboardInterrupt:
        say("stopped: nothing was kept")
        raise
    if as_json:
        print_json({"tuned": tuned, "trials": trials})
    else:
        print(_summary(tuned))
    if tuned.scatter_ratio > _BUSY_RATIO:
        say(
            f"the figures scatter by {tuned.scatter_ratio:.0%}: this machine is busy, and smaller "
            "gains were not seen; measure again when it is idle"
        )


def _warn_of_servers() -> None:
    from edgellm.cli.output import say
    from edgellm.cli.serving import state

    if urls := [server.url for server in state.running()]:
        say(
            f"a server is running ({', '.join(urls)}): its memory is taken and its work slows what "
            "is measured; edgellm stop, or measure while nobody asks it"
        )


def _tune_power(prepared: "Prepared", hardware: "Hardware", *, asks: bool, as_json: bool) -> None:
    from edgellm.cli.commands import power
    from edgellm.cli.output import is_terminal, print_json, say
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
        question = f"move the power limit to {limits} W in turn, and back? [y/N] "
        if input(question).strip().lower() not in ("y", "yes"):
            return
    points = power.measure(prepared.path, prepared.plan, cards, sampler_for(hardware), say)
    print_json({"points": power.rows(points)}) if as_json else print(power.report(points, cards))


def _measured(
    prepared: "Prepared", hardware: "Hardware", goal: "Goal"
) -> tuple["Tuned", tuple["Trial", ...]]:
    from datetime import date

    from edgellm.cli.measuring.trials import run_trials
    from edgellm.cli.preparing import tuned as store
    from edgellm.profiles import load_profiles
    from edgellm.selector.tuning import Knobs, axes, fewest_trials, median_sample, scatter_ratio

    plan, workload = prepared.plan, load_profiles().workload(goal.use)
    start = Knobs.of(plan)
    tried = axes(plan, goal, hardware, workload)
    watch = _Watch(start, fewest_trials(tried, start))
    best, trials = run_trials(prepared.path, plan, tried, workload, watch)
    was, now = median_sample(trials, start), median_sample(trials, best)
    tuned = store.Tuned(
        model=prepared.name,
        quant=plan.quant,
        date=date.today().isoformat(),
        n_parallel=plan.n_parallel,
        best=best,
        start=start,
        decode_tok_s=round(now.decode_tok_s, 2),
        prefill_tok_s=round(now.prefill_tok_s, 2),
        gain_ratio=round(1 - now.request_s(workload) / was.request_s(workload), 4),
        scatter_ratio=round(scatter_ratio(trials, workload), 4),
    )
    store.keep(tuned, hardware, prepared.headers)
    return tuned, trials


class _Watch:
    """A line for each variation, on stderr; on a terminal also what is being measured. The first
    one says how long the others will take."""

    def __init__(self, start: "Knobs", n_fewest: int) -> None:
        import sys
        import time

        from edgellm.tui.terminal import can_draw, columns

        self._start, self._n, self._n_fewest = start, 0, n_fewest
        self._clock, self._begun_s = time.monotonic, time.monotonic()
        self._out = sys.stderr
        self._draws, self._columns = can_draw(self._out), columns(self._out)

    def __call__(self, knobs: "Knobs", trial: "Trial | None") -> None:
        what = ", ".join(knobs.changes(self._start)) or "as chosen"
        if trial is None:
            self._n += 1
            if self._draws:
                line = f"{self._n:>3}  {what} …"[: self._columns - 1]
                print(f"\r\x1b[K{line}", end="", file=self._out, flush=True)
            return
        clear = "\r\x1b[K" if self._draws else ""
        print(f"{clear}{self._n:>3}  {what:<40} {_figures(trial)}", file=self._out, flush=True)
        if self._n == 1:
            self._say_how_long(self._n_fewest - 1, self._clock() - self._begun_s)

    def _say_how_long(self, n_more: int, each_s: float) -> None:
        from edgellm.units import format_seconds

        if n_more:
            words = f"{n_more} variations or some more: at least {format_seconds(n_more * each_s)}"
            print(f"     {words}", file=self._out, flush=True)


def _figures(trial: "Trial") -> str:
    from edgellm.selector.tuning import median_sample
    from edgellm.units import format_rate

    if trial.fault is not None:
        return f"can't be loaded: {trial.fault}"
    sample = median_sample([trial], trial.knobs)
    prefill, decode = (format_rate(n, "") for n in (sample.prefill_tok_s, sample.decode_tok_s))
    after = f" after {trial.depth:,} tokens" if trial.depth else ""
    return f"prompt {prefill:>7} decode {decode:>7} tok/s{after}"


def _summary(tuned: "Tuned") -> str:
    from edgellm.units import format_rate

    now = f"decode {format_rate(tuned.decode_tok_s)}, prompt {format_rate(tuned.prefill_tok_s)}"
    if tuned.best == tuned.start:
        return f"the plan is the fastest as it is: {now}"
    changes = ", ".join(tuned.best.changes(tuned.start))
    return (
        f"fastest: {changes}\n{now}: a typical request takes {tuned.gain_ratio:.0%} less time\n"
        "serve, run, up and plan use it from here on; a flag goes before it"
    )
