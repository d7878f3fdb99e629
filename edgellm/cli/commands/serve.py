"""`edgellm serve MODEL …`: headless, on TCP or a unix socket, until told to stop."""

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
    from edgellm.cli.preparing.resolve import Resolved
    from edgellm.cli.serving.serving import Instance
    from edgellm.config import Config
    from edgellm.selector.plan import Goal
    from edgellm.server.served import Models


def serve(
    models: options.ModelArguments,
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
    sleep_idle_seconds: Annotated[
        float | None,
        typer.Option(help="Unload it when nobody asks for so long.", metavar="S", min=0),
    ] = None,
    limit_rate: options.LimitRate = None,
    offline: options.Offline = False,
) -> None:
    """Serve a model over HTTP, with OpenAI's API.

    Quantization, context and placement are chosen for this machine; a flag pins any of them.
    What is not here is downloaded first. Several models take turns in memory, as requests name
    them. Ctrl-C, SIGTERM or `edgellm stop` end it.

    \b
      edgellm serve qwen3:8b gemma3:12b gpt-oss:20b
      edgellm serve org/repo:Q4_K_M --port 11434   # where Ollama's clients ask
      edgellm serve qwen3:4b --embedding qwen3-embedding:0.6b
      edgellm serve ./model.gguf --lora style.gguf --lora facts.gguf=0.5
    """
    config = listening.config(
        limit_rate=limit_rate,
        offline=offline,
        reserve=pins.reserve,
        lora_dir=adapting.lora_dir,
        draft=drafting.named(pins),
        sleep_idle_seconds=sleep_idle_seconds,
    )
    _check_several(models, config, name, (seeing, adapting))
    goal = pins.goal(config.reserve)
    listening.check(config)
    instance = _instance(models, embedding, name, config, goal, (seeing, adapting))
    _run(replace(instance, insecure=listening.insecure))


def _check_several(
    models: list[str], config: "Config", name: str | None, changes: tuple[Seeing, Adapting]
) -> None:
    """Raises BadRequest for what can be one model's only."""
    from edgellm.errors import BadRequest

    seeing, adapting = changes
    given = {
        "--name": name, "--mmproj": seeing.mmproj, "--lora": adapting.lora,
        "--pooling": adapting.pooling, "--draft": config.draft,
    }  # fmt: skip
    of_one = [flag for flag, value in given.items() if value]
    if len(models) > 1 and of_one:
        raise BadRequest(
            f"{', '.join(of_one)} can be meant for one model, and {len(models)} are named",
            hint="serve that one by itself, with --port 0 beside the others",
        )


def _resolved(model: str, config: "Config", changes: tuple[Seeing, Adapting]) -> "Resolved":
    from edgellm.cli.preparing.resolve import resolve

    resolved = resolve(model, config)
    for change in changes:
        resolved = change.applied(resolved)
    return resolved


def _instance(
    models: list[str],
    embedding: str | None,
    name: str | None,
    config: "Config",
    goal: "Goal",
    changes: tuple[Seeing, Adapting],
) -> "Instance":
    from edgellm.cli.flags.drafting import with_draft
    from edgellm.cli.output import say
    from edgellm.cli.preparing import machine
    from edgellm.cli.preparing.resolve import resolve
    from edgellm.cli.preparing.several import prepare_all
    from edgellm.cli.serving.loading import LoadingLine
    from edgellm.cli.serving.ready import ready_text
    from edgellm.cli.serving.serving import Instance

    resolved = [_resolved(model, config, changes) for model in models]
    beside = resolve(embedding, config) if embedding else None
    hardware, sleeps = machine.look(), config.sleep_idle_seconds is not None
    resolved = [with_draft(one, config) for one in resolved]
    prepared = prepare_all(resolved, hardware, goal, embedding=beside, name=name, sleeps=sleeps)
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
