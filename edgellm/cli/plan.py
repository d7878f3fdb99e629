"""`edgellm plan`: what would run how, on this machine or on one that is only described."""

from edgellm.cli import options
from edgellm.cli.described import Described
from edgellm.cli.pins import Pins


def plan(
    model: options.ModelArgument,
    pins: Pins,
    described: Described,
    as_json: options.AsJSON = False,
    offline: options.Offline = False,
) -> None:
    """Show what would run how, before anything is downloaded.

    The file, its context, memory and speed, and the best of what was not chosen. A flag pins its
    part of the plan, the rest is chosen around it.

    A catalog name needs no network; a repository's headers are read by range, not its files.

    \b
      edgellm plan qwen3:8b
      edgellm plan qwen3:30b-a3b --on rtx4090 --goal quality
      edgellm plan unsloth/Qwen3-8B-GGUF --ctx 32768 --json
    """
    from edgellm.cli.output import print_json
    from edgellm.cli.resolve import resolve
    from edgellm.profiles import load_profiles
    from edgellm.selector.choose import choose
    from edgellm.selector.explain import explain, plan_json

    config = options.config_from(offline=offline, reserve=pins.reserve)
    goal = pins.goal(config.reserve)
    resolved = resolve(model, config, plan_only=True)
    hardware = described.hardware()
    made = choose(hardware, resolved.candidates, goal, load_profiles())
    if as_json:
        print_json(plan_json(made))
    else:
        print(explain(made, hardware), end="")
