"""`edgellm cost [MODEL]`: what a million tokens cost here, and on rented hardware."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import options
from edgellm.cli.flags.cost_inputs import CostInputs
from edgellm.errors import NotServing

if TYPE_CHECKING:
    from edgellm.cli.measuring.costs import Pace
    from edgellm.config import Config
    from edgellm.profiles import CloudPrice
    from edgellm.selector.plan import Candidate
    from edgellm.status import ModelStatus, Status


def cost(
    inputs: CostInputs,
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="As for plan; without one, what is served here."),
    ] = None,
    host: options.Host = None,
    as_json: options.AsJSON = False,
    offline: options.Offline = False,
) -> None:
    """Show what tokens cost on this machine, and on rented ones.

    At the speed and power that a running server measures, else as predicted. Cloud prices are
    profiles/prices.toml's, in dollars, with their date; --usd says what one is in your currency.
    All that is assumed is said below the figures.

    \b
      edgellm cost --capex 2400 --per-kwh 0.31 --utilisation 0.2
      edgellm cost qwen3:8b --capex 10000 --monthly 500 --requests-per-day 50
      edgellm cost --json | jq .cloud
    """
    from edgellm.cli.measuring.cost_report import report
    from edgellm.cli.measuring.costs import costs
    from edgellm.cli.output import columns, print_json
    from edgellm.profiles import load_prices

    config = options.config_from(offline=offline)
    pace, candidates = _pace(model, config, host)
    prices = load_prices()
    speeds = {price.name: _cloud_tok_s(price, candidates) for price in prices.cloud}
    made = costs(pace, inputs, config, prices, speeds)
    print_json(made) if as_json else print(report(made, columns()))


def _pace(
    model: str | None, config: "Config", host: str | None
) -> tuple["Pace", tuple["Candidate", ...]]:
    """Raises NotServing without a MODEL and a server, and as resolving and planning do."""
    from edgellm.cli.serving.find import servers_with, statuses, the_server

    if model is not None:
        having = servers_with(model, statuses(host))
        if not having:
            return _predicted(model, config)
        url, status, ours = having[0]
    else:
        hint = "edgellm cost MODEL needs none; edgellm up starts one"
        url, status = the_server(host=host, hint=hint)
        writing = [one for one in status.models if not one.embedding]
        if not writing:
            raise NotServing(f"{url} serves nothing that writes", hint="edgellm cost MODEL")
        ours = writing[0]
    return measured(url, status, ours), _candidates(ours, config)


def _predicted(model: str, config: "Config") -> tuple["Pace", tuple["Candidate", ...]]:
    from edgellm.cli.flags.model_options import ModelOptions
    from edgellm.cli.measuring.costs import Pace
    from edgellm.cli.preparing import machine
    from edgellm.cli.preparing.planning import planned
    from edgellm.cli.preparing.requested import RequestedModel
    from edgellm.cli.preparing.resolve import resolve
    from edgellm.selector.plan import candidate_of

    goal = RequestedModel.of(model, config, ModelOptions()).settings.goal
    found = resolve(model, config, plan_only=True)
    plan = planned(machine.recall(), found.candidates, goal, asks_oracle=False)
    tok_s = plan.decode_tok_s.p50 if plan.decode_tok_s else None
    pace = Pace(plan.model, tok_s, "predicted, one stream", plan.power_w, "the boards' limits")
    return pace, (candidate_of(found.candidates, plan.file),)


def measured(url: str, status: "Status", model: "ModelStatus") -> "Pace":
    """At this moment; while nothing is written, of all answers whose joules are known; else what
    the plan expects of one stream."""
    from edgellm.cli.measuring.costs import Pace

    energy, plan, name = status.energy, model.plan, model.name
    if model.n_running and model.decode_tok_s is not None:
        watts = energy.power_w if energy else None
        return Pace(
            name, model.decode_tok_s, "measured now", watts, "measured now, all devices", url
        )
    if energy and energy.tok_s and energy.j_per_token is not None:
        so_far = "measured, all answers so far"
        return Pace(name, energy.tok_s, so_far, energy.j_per_token * energy.tok_s, so_far, url)
    expected = plan.decode_tok_s_p50 if plan else None
    return Pace(name, expected, "predicted, one stream", None, "", url)


def _candidates(model: "ModelStatus", config: "Config") -> tuple["Candidate", ...]:
    """Of the file that is served, if it can be read from here."""
    from edgellm.cli.preparing.resolve import resolve
    from edgellm.errors import EdgellmError

    try:
        return resolve(model.plan.file, config, plan_only=True).candidates if model.plan else ()
    except EdgellmError:
        return ()


def _cloud_tok_s(price: "CloudPrice", candidates: tuple["Candidate", ...]) -> float | None:
    """Predicted for one stream of the same file; None where it isn't known, or doesn't fit. What
    the configuration reserves is this machine's: nobody else works on a rented one."""
    from edgellm.cli.preparing.planning import planned
    from edgellm.errors import EdgellmError
    from edgellm.probe.known.described import hardware_from_devices
    from edgellm.selector.plan import Goal

    if not candidates:
        return None
    try:
        rented = hardware_from_devices((price.device,), None)
        plan = planned(rented, candidates, Goal(), asks_oracle=False, is_here=False)
    except EdgellmError:
        return None
    return plan.decode_tok_s.p50 if plan.decode_tok_s else None
