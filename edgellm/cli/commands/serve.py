"""`edgellm serve MODEL …`: headless, on TCP or a unix socket, until told to stop."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import completing, options
from edgellm.cli.flags.adapting import Adapting
from edgellm.cli.flags.drafting import Drafting
from edgellm.cli.flags.listening import Listening
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.pins import Pins
from edgellm.cli.flags.seeing import Seeing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgellm.cli.preparing.prepare import Prepared
    from edgellm.cli.serving.serving import Instance
    from edgellm.config import Config
    from edgellm.probe.hardware import Hardware
    from edgellm.server.served import Models


def serve(
    pins: Pins,
    listening: Listening,
    seeing: Seeing,
    adapting: Adapting,
    drafting: Drafting,
    models: options.ServedArguments = None,
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
        typer.Option(help="Unload it when nobody asked for so long.", metavar="S", min=0),
    ] = None,
    limit_rate: options.LimitRate = None,
    offline: options.Offline = False,
) -> None:
    """Serve models over HTTP: OpenAI's, Anthropic's, Ollama's APIs.

    Quantization, context and placement are chosen for this machine; a flag pins any of them.
    What is not here is downloaded first. Several, or without MODEL all on this disk, take turns.
    Ctrl-C, SIGTERM or `edgellm stop` end it.

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
    models = models or list(config.serve)
    of_one = {
        "--name": name, "--mmproj": seeing.mmproj, "--lora": adapting.lora,
        "--pooling": adapting.pooling, "--draft": config.draft if models else drafting.draft,
    }  # fmt: skip
    if not models:
        of_one["--embedding"] = embedding
    _check_several(models or (), [flag for flag, value in of_one.items() if value])
    pins.goal(config.reserve)  # what can't be is told before anything is looked for
    listening.check(config)
    _tell_unmatched_tables(config, [*models, *filter(None, [embedding])])
    flags = ModelOptions(
        pins=pins, drafting=drafting, seeing=seeing, adapting=adapting,
        sleep_idle_seconds=sleep_idle_seconds,
    )  # fmt: skip
    if models:
        instance = _instance(models, embedding, name, config, flags)
    else:
        _check_pulls(config)
        instance = _of_the_disk(config, flags)
    _run(replace(instance, insecure=listening.insecure))


def _tell_unmatched_tables(config: "Config", models: "Sequence[str]") -> None:
    from edgellm.cli.output import say
    from edgellm.cli.preparing.unmatched_tables import unmatched_tables

    for one in unmatched_tables(config, models):
        say(str(one))


def _check_several(models: "Sequence[str]", of_one: "Sequence[str]") -> None:
    """Raises BadRequest for flags that can be one model's only."""
    from edgellm.errors import BadRequest

    if len(models) == 1 or not of_one:
        return
    are = f"{len(models)} are" if models else "none is"
    raise BadRequest(
        f"{', '.join(of_one)} can be meant for one model, and {are} named",
        hint="serve that one by itself, with --port 0 beside the others"
        if models
        else "name it: edgellm serve MODEL; without MODEL all of this disk are served as they are",
    )


def _check_pulls(config: "Config") -> None:
    """Raises ConfigError for a place where anybody could fill the disk, or empty it."""
    from edgellm.cli.preparing.precheck import bind_of
    from edgellm.errors import ConfigError

    allowed = "allow_pull" if config.allow_pull else "allow_delete" if config.allow_delete else None
    if allowed and not config.needs_key and not bind_of(config).is_private:
        raise ConfigError(
            f"{allowed}: {config.host} can be reached by others, and no API key is set",
            hint="set one by --api-key or EDGELLM_API_KEY; --insecure is not enough for this",
        )


def _instance(
    models: list[str],
    embedding: str | None,
    name: str | None,
    config: "Config",
    flags: ModelOptions,
) -> "Instance":
    from edgellm.cli.preparing import machine
    from edgellm.cli.preparing.requested import resolve_embedding, resolve_requested
    from edgellm.cli.preparing.several import prepare_all

    resolved = [resolve_requested(model, config, flags) for model in models]
    beside = resolve_embedding(embedding, config, flags) if embedding else None
    hardware = machine.look()
    prepared = prepare_all(resolved, hardware, embedding=beside, name=name)
    return _told(config, hardware, prepared, f", loading {prepared[0].name}")


def _of_the_disk(config: "Config", flags: ModelOptions) -> "Instance":
    """All of them, each asleep until it is asked for; but those that are pinned."""
    from edgellm.cli.output import say
    from edgellm.cli.preparing import machine
    from edgellm.cli.preparing.shelf import Shelf
    from edgellm.cli.serving.pulling import Puller
    from edgellm.cli.serving.removing import Remover
    from edgellm.cli.serving.shelf_watch import ShelfWatch

    hardware = machine.look()
    shelf = Shelf(config, hardware, flags, say)
    with machine.looking("looking at the models on this disk …"):
        prepared = shelf.look().come
    instance = _told(config, hardware, prepared, "")
    watch = ShelfWatch(shelf, say)
    return replace(
        instance,
        wakes_first=False,
        errand=watch.errand,
        puller=Puller(config, watch.refresh) if config.allow_pull else None,
        remover=Remover(config, watch.refresh) if config.allow_delete else None,
    )


def _told(
    config: "Config", hardware: "Hardware", prepared: "Sequence[Prepared]", also: str
) -> "Instance":
    """What comes of it is told on the terminal."""
    from edgellm.cli.output import say
    from edgellm.cli.serving.loading import LoadingLine
    from edgellm.cli.serving.ready import ready_text
    from edgellm.cli.serving.serving import Instance

    line = LoadingLine()

    def ready(url: str, models: "Models") -> None:
        line.end()
        print(ready_text(url, models, hardware, config), flush=True)

    return Instance(
        config,
        hardware,
        prepared,
        say=line.say,
        on_listening=lambda url: say(f"listening on {url}{also}"),
        on_loading=line.follow,
        on_ready=ready,
        on_closing=line.end,
    )


def _run(instance: "Instance") -> None:
    import asyncio

    from edgellm.cli.serving.serving import run_instance

    asyncio.run(run_instance(instance))
