"""`edgellm serve MODEL`: headless, on TCP or a unix socket, until told to stop."""

import asyncio
import sys
from typing import Annotated

import typer

from edgellm.cli import options


def serve(
    model: options.ModelArgument,
    embedding: Annotated[
        str | None, typer.Option(help="An embedding model to serve beside it.", metavar="MODEL")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The name that clients will use.", metavar="NAME")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes any that is free.")] = None,
    unix_socket: Annotated[
        str | None, typer.Option(help="Listen on this unix socket instead.", metavar="PATH")
    ] = None,
    api_key: Annotated[
        list[str] | None, typer.Option(help="A key that clients must send; repeatable.")
    ] = None,
    ctx: options.Context = None,
    n_ctx: options.TotalContext = None,
    parallel: options.Parallel = None,
    use: options.Use = "chat",
    goal: options.Objective = "balanced",
    ctk: options.KVTypeK = None,
    ctv: options.KVTypeV = None,
    ngl: options.GpuLayers = None,
    ubatch: options.MicroBatch = None,
    threads: options.Threads = None,
    flash_attn: options.FlashAttention = "auto",
    reserve: options.Reserve = None,
    max_queue: Annotated[
        int | None, typer.Option(help="Requests that may wait; one more gets a 429.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a non-loopback address without a key.")
    ] = False,
    offline: options.Offline = None,
) -> None:
    """Serve a model over HTTP: OpenAI's API, health, metrics, status.

    Quantization, context and placement are chosen for this machine; a flag pins any of them.

    \b
    edgellm serve ./model.gguf
    edgellm serve qwen3:8b --ctx 16384 --parallel 8
    edgellm serve org/repo:Q4_K_M --port 11434
    """
    import os

    from edgellm.cli.serving import ServeOptions, run_server
    from edgellm.config import load_config

    config = load_config(
        os.environ,
        {
            "host": host,
            "port": port,
            "unix_socket": unix_socket,
            "api_keys": tuple(api_key) if api_key else None,
            "max_queue": max_queue,
            "reserve": reserve,
            "offline": offline,
        },
    )
    wish = options.goal_from(
        ctx=ctx, n_ctx=n_ctx, parallel=parallel, use=use, objective=goal, ctk=ctk, ctv=ctv,
        ngl=ngl, ubatch=ubatch, threads=threads, flash=flash_attn, reserve=config.reserve,
    )  # fmt: skip
    chosen = ServeOptions(model, name, embedding, wish, insecure=insecure)
    asyncio.run(run_server(config, chosen))


def say(text: str) -> None:
    """Progress is for people: on stderr, so that stdout stays clean."""
    print(text, file=sys.stderr, flush=True)
