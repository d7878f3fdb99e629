"""`edgellm bench`: how fast a model reads and writes on this machine."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import options
from edgellm.cli.flags.drafting import Drafting
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.pins import Pins
from edgellm.units import parse_seconds

if TYPE_CHECKING:
    from edgellm.cli.measuring.benchmark import Measured, Sizes, Soaked


def bench(
    pins: Pins,
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Without it: what the running server serves."),
    ] = None,
    n_prompt: Annotated[
        int, typer.Option("-p", "--prompt", help="Tokens to read.", metavar="N", min=1)
    ] = 512,
    n_generate: Annotated[
        int, typer.Option("-n", "--generate", help="Tokens to write.", metavar="N", min=2)
    ] = 64,
    n_runs: Annotated[
        int, typer.Option("-r", "--runs", help="Runs of each test.", metavar="N", min=1)
    ] = 5,
    soak: Annotated[
        str | None,
        typer.Option(help="Write for so long, and compare cold with warm: 10m.", metavar="TIME"),
    ] = None,
    host: options.Host = None,
    as_json: options.AsJSON = False,
    offline: options.Offline = False,
) -> None:
    """Measure how fast a model reads and writes.

    Prefill is a prompt that no cache knows; decode is one stream, after prompts of several lengths.
    Each row is the median of its runs with the lowest and the highest. A first run warms up and
    doesn't count. Nothing else should use the model meanwhile. The next plan starts from what was
    measured, unless others kept the machine busy, which is said.

    \b
      edgellm bench
      edgellm bench qwen3:8b -p 2048 -n 128 --json > bench.json
      edgellm bench --soak 10m          # does it throttle when it gets hot?
    """
    from edgellm.cli.measuring.benchmark import Sizes
    from edgellm.cli.serving.private import server_with

    draft = Drafting().named(pins)
    config = options.config_from(offline=offline, reserve=pins.reserve, draft=draft)
    pins.goal(config.reserve)  # what can't be is told before anything is looked for
    soak_s = parse_seconds(soak) if soak else None
    model = model or _served_model(host)
    model_options = ModelOptions(pins=pins)
    with server_with(model, config, model_options, flags=pins.given(), host=host) as (url, name):
        result = _measured(url, name, Sizes(n_prompt, n_generate, n_runs), soak_s)
    _tell(result, as_json=as_json)


def _measured(url: str, name: str, sizes: "Sizes", soak_s: float | None) -> "Measured | Soaked":
    from edgellm.cli.measuring.benchmark import Bench
    from edgellm.cli.output import say
    from edgellm.cli.preparing import machine
    from edgellm.cli.serving.busy import crowd
    from edgellm.cli.serving.find import is_here
    from edgellm.errors import DeadlinePassed

    say(f"measuring {name} at {url}")
    bench = Bench(url, name, sizes)
    result = bench.soak(soak_s) if soak_s else bench.measure()
    if not is_here(url):  # how busy it is there we don't know
        return result
    try:
        return replace(result, crowd=crowd(bench.least_load, machine.recall()))
    except DeadlinePassed:  # what was measured is told all the same
        return result


def _tell(result: "Measured | Soaked", *, as_json: bool) -> None:
    from edgellm.cli.measuring.benchmark import Measured
    from edgellm.cli.measuring.reporting import report, report_soak, unkept
    from edgellm.cli.output import print_json, say

    if as_json:
        print_json(result)
    else:
        print(report(result) if isinstance(result, Measured) else report_soak(result))
    if result.crowd:
        say(unkept(result.crowd))


def _served_model(host: str | None) -> str:
    """What the running server serves. Raises NotServing, ModelNotFound."""
    from edgellm.cli.serving.find import the_server
    from edgellm.errors import ModelNotFound

    hint = "edgellm bench MODEL needs none; edgellm up starts one"
    _, status = the_server(host=host, hint=hint)
    model = next((one.name for one in status.models if not one.embedding), None)
    if model is None:
        raise ModelNotFound(
            f"{status.url} serves no model that writes text", hint="edgellm bench MODEL"
        )
    return model
