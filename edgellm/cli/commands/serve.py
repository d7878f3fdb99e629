"""`edgellm serve MODEL`: headless, on TCP or a unix socket, until told to stop."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import completing, options
from edgellm.cli.flags.adapting import Adapting
from edgellm.cli.flags.drafting import Drafting
from edgellm.cli.flags.listening import Listening
from edgellm.cli.flags.pins import Pins
from edgellm.cli.flags.seeing import Seeing

if TYPE_CHECKING:
    from edgellm.cli.serving.serving import Instance
    from edgellm.config import Config
    from edgellm.selector.plan import Goal
    from edgellm.server.served import Models


def serve(
    model: options.ModelArgument,
    pins: Pins,
    listening: Listening,
    seeing: Seeing,
    adapting: Adapting,
    drafting: Drafting,
    embedding: Annotated[
        str | None,
        typer.Option(
            help="An embedding model to serve beside it.",
            metavar="MODEL",
            autocompletion=completing.models,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The name that clients will use.", metavar="NAME")
    ] = None,
    limit_rate: options.LimitRate = None,
    offline: options.Offline = False,
) -> None:
    """Serve a model over HTTP, with OpenAI's API.

    Quantization, context and placement are chosen for this machine; a flag pins any of them.
    What is not on this disk is downloaded first. Ctrl-C, SIGTERM or `edgellm stop` end it.

    \b
      edgellm serve ./model.gguf
      edgellm serve qwen3:8b --ctx 16384 --parallel 8
      edgellm serve org/repo:Q4_K_M --port 11434   # where Ollama's clients ask
      edgellm serve qwen3:4b --embedding qwen3-embedding:0.6b
      edgellm serve qwen3:8b --draft qwen3:0.6b
      edgellm serve ./model.gguf --lora style.gguf --lora facts.gguf=0.5
    """
    config = listening.config(
        limit_rate=limit_rate,
        offline=offline,
        reserve=pins.reserve,
        lora_dir=adapting.lora_dir,
        draft=drafting.named(pins),
    )
    goal = pins.goal(config.reserve)
    listening.check(config)
    instance = _instance(model, embedding, name, config, goal, (seeing, adapting))
    _run(replace(instance, insecure=listening.insecure))


def _instance(
    model: str,
    embedding: str | None,
    name: str | None,
    config: "Config",
    goal: "Goal",
    changes: tuple[Seeing, Adapting],
) -> "Instance":
    from edgellm.cli.flags.drafting import with_draft
    from edgellm.cli.output import say
    from edgellm.cli.preparing import machine
    from edgellm.cli.preparing.prepare import prepare_all
    from edgellm.cli.preparing.resolve import resolve
    from edgellm.cli.serving.loading import LoadingLine
    from edgellm.cli.serving.ready import ready_text
    from edgellm.cli.serving.serving import Instance

    resolved = resolve(model, config)
    for change in changes:
        resolved = change.applied(resolved)
    beside = resolve(embedding, config) if embedding else None
    hardware = machine.look()
    resolved = with_draft(resolved, config)
    prepared = prepare_all(resolved, hardware, goal, embedding=beside, name=name)
    line = LoadingLine()

    def ready(url: str, models: "Models") -> None:
        line.end()
        print(ready_text(url, models, hardware, config), flush=True)

    return Instance(
        config,
        hardware,
        prepared,
        say=line.say,
        on_listening=lambda url: say(f"listening on {url}, loading {prepared[0].name}"),
        on_loading=line.follow,
        on_ready=ready,
        on_closing=line.end,
    )


def _run(instance: "Instance") -> None:
    import asyncio

    from edgellm.cli.serving.serving import run_instance

    asyncio.run(run_instance(instance))
