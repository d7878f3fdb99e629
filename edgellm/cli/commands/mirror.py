"""`edgellm mirror`: the models on this disk as a hub for machines that reach no other."""

from typing import Annotated

import typer

from edgellm.cli.flags import options


def mirror(
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; 0.0.0.0 is the LAN.", metavar="ADDRESS"),
    ] = None,
    port: Annotated[
        int,
        typer.Option(help="Port; 0 takes any free one.", metavar="N", min=0, max=65535),
    ] = 8485,
    ssl_cert_file: Annotated[
        str | None, typer.Option(help="Speak TLS (https://) by this certificate.", metavar="FILE")
    ] = None,
    ssl_key_file: Annotated[
        str | None, typer.Option(help="That certificate's key.", metavar="FILE")
    ] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(help="A key that clients must send; repeatable.", metavar="KEY"),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a non-loopback address without a key.")
    ] = False,
    limit_rate: Annotated[
        str | None,
        typer.Option(help="The most that all clients together get: 50MiB/s.", metavar="RATE"),
    ] = None,
) -> None:
    """Serve the models on this disk to other machines, as a hub.

    For machines without internet: they set HF_ENDPOINT to this one, and `edgellm pull`,
    `hf download` and llama.cpp's -hf get from here what they would get from huggingface.co.
    What is not on this disk isn't there: nothing is asked of the internet. A model that is
    pulled meanwhile is served at once. A key is what they have as HF_TOKEN; llama.cpp takes
    only one like hf_ and 34 letters or digits. Ctrl-C ends it; broken-off downloads go on later.

    \b
      edgellm pull qwen3:8b                # here, where there is internet
      edgellm mirror --host 0.0.0.0 --api-key hf_…
      HF_ENDPOINT=http://box:8485 HF_TOKEN=hf_… edgellm pull qwen3:8b  # there
      curl http://127.0.0.1:8485           # what is here
    """
    from edgellm.cli.serving.mirroring import run
    from edgellm.errors import BadRequest
    from edgellm.units import parse_bytes

    rate_bytes_s = parse_bytes(limit_rate) if limit_rate else None
    if rate_bytes_s == 0:
        raise BadRequest("at 0 bytes a second nothing is sent", hint="leave --limit-rate out")
    config = options.config_from(
        host=host,
        ssl_cert_file=ssl_cert_file,
        ssl_key_file=ssl_key_file,
        api_keys=tuple(api_key) if api_key else None,
    )
    run(config, port, rate_bytes_s, insecure=insecure)
