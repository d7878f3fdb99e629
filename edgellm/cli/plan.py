"""`edgellm plan`: what would run how, on this machine or on one that is only described."""

from typing import Annotated

import typer

from edgellm.cli import options
from edgellm.cli.described import Described
from edgellm.cli.pins import Pins


def plan(
    model: options.ModelArgument,
    pins: Pins,
    described: Described,
    no_oracle: Annotated[
        bool, typer.Option("--no-oracle", help="Arithmetic only; llama.cpp isn't asked.")
    ] = False,
    as_json: options.AsJSON = False,
    offline: options.Offline = False,
) -> None:
    """Show what would run how, before anything is downloaded.

    The file, its context, memory and speed, what can be traded for what, and the best of what was
    not chosen. A flag pins its part of the plan, the rest is chosen around it.

    A catalog name needs no network; a repository's headers are read by range, not its files.

    \b
      edgellm plan qwen3:8b
      edgellm plan qwen3:30b-a3b --on rtx4090 --goal quality
      edgellm plan ./model.gguf --device "RTX 3090" --device "RTX 3060" --ram 64GiB@60
      edgellm plan unsloth/Qwen3-8B-GGUF --ctx 32768 --json
    """
    from edgellm.cli.output import columns, print_json
    from edgellm.cli.planning import planned
    from edgellm.cli.resolve import resolve
    from edgellm.errors import DoesNotFit
    from edgellm.selector.explain import explain
    from edgellm.selector.plan_json import plan_json

    config = options.config_from(offline=offline, reserve=pins.reserve)
    goal = pins.goal(config.reserve)
    found = resolve(model, config, plan_only=True)
    hardware = described.hardware()
    try:
        made = planned(hardware, found.candidates, goal, asks_oracle=not no_oracle)
    except DoesNotFit as error:
        from edgellm.cli.refusal import tell_refusal

        tell_refusal(error, found.name, hardware, found.candidates, goal, as_json=as_json)
        raise
    if as_json:
        print_json(plan_json(made))
    else:
        print(explain(made, hardware, columns()), end="")
