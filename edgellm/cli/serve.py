"""`edgellm serve MODEL`: headless, on TCP or a unix socket, until told to stop."""

from typing import Annotated

import typer

from edgellm.cli import options
from edgellm.cli.pins import Pins


def serve(
    model: options.ModelArgument,
    pins: Pins,
    embedding: Annotated[
        str | None, typer.Option(help="An embedding model to serve beside it.", metavar="MODEL")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The name that clients will use.", metavar="NAME")
    ] = None,
    host: options.Host = None,
    port: options.Port = None,
    unix_socket: Annotated[
        str | None, typer.Option(help="Listen on this unix socket instead.", metavar="PATH")
    ] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(help="A key that clients must send; repeatable.", metavar="KEY"),
    ] = None,
    max_queue: Annotated[
        int | None,
        typer.Option(help="Requests that may wait; one more gets a 429.", metavar="N", min=0),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a non-loopback address without a key.")
    ] = False,
    limit_rate: options.LimitRate = None,
    offline: options.Offline = False,
) -> None:
    """Serve a model over HTTP, with OpenAI's API.

    Quantization, context and placement are chosen for this machine; a flag pins any of them.
    What is not on this disk is downloaded first. Ctrl-C, SIGTERM or `edgellm stop` end it.

    \b
      edgellm serve ./model.gguf
      edgellm serve qwen3:8b --ctx 16384 --parallel 8
      edgellm serve org/repo:Q4_K_M --port 11434      # a drop-in for Ollama's clients
      edgellm serve qwen3:4b --embedding qwen3-embedding:0.6b
    """
    import asyncio

    from edgellm.cli import machine
    from edgellm.cli.output import say
    from edgellm.cli.precheck import check_address
    from edgellm.cli.prepare import prepare_all
    from edgellm.cli.ready import ready_text
    from edgellm.cli.resolve import resolve
    from edgellm.cli.serving import Instance, run_instance

    config = options.config_from(
        host=host, port=port, unix_socket=unix_socket, max_queue=max_queue, reserve=pins.reserve,
        api_keys=tuple(api_key) if api_key else None, limit_rate=limit_rate, offline=offline,
    )  # fmt: skip
    goal = pins.goal(config.reserve)
    check_address(config, insecure=insecure)
    resolved = resolve(model, config)
    beside = resolve(embedding, config) if embedding else None
    hardware = machine.look()
    prepared = prepare_all(resolved, hardware, goal, embedding=beside, name=name)
    instance = Instance(
        config,
        hardware,
        prepared,
        insecure=insecure,
        on_listening=lambda url: say(f"listening on {url}, loading {prepared[0].name}"),
        on_ready=lambda url, models: print(ready_text(url, models, hardware, config), flush=True),
    )
    asyncio.run(run_instance(instance))
