"""Options that several commands share, so that they mean the same everywhere."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgellm.cli.flags import completing

if TYPE_CHECKING:
    from pathlib import Path

    from edgellm.config import Config

_A_MODEL = (
    "A file (./x.gguf), a repository (org/repo[:QUANT]), a catalog name "
    "(qwen3:8b[:QUANT]), another tool's (ollama:qwen3:8b) or demo."
)
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", autocompletion=completing.models, help=_A_MODEL)
]
ServedArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODEL", autocompletion=completing.models, help=_A_MODEL),
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        help="Which server: host, host:port or unix:/path.",
        metavar="HOST",
    ),
]
LimitRate = Annotated[
    str | None, typer.Option(help="The most a download takes: 20MiB/s.", metavar="RATE")
]
Offline = Annotated[bool, typer.Option("--offline", help="No network at all.")]
Signers = Annotated[
    str | None,
    typer.Option(
        "--signers", metavar="FILE", help="Only a bundle that a key of this file has signed."
    ),
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def signers_of(config: "Config") -> "Path | None":
    from edgellm.files import path_of

    return None if config.bundle_signers is None else path_of(config.bundle_signers)


def config_from(*, offline: bool = False, **flags: Any) -> "Config":
    """Flags over environment over file over defaults; what is None or False was not given. Raises
    ConfigError, and BadRequest for a rate that is none: before the network is asked anything."""
    from edgellm.config import load_config
    from edgellm.units import parse_bytes

    if rate := flags.get("limit_rate"):
        parse_bytes(rate)
    config = load_config(os.environ, {**flags, "offline": offline or None})
    if config.models:
        from edgellm.cli.flags.tables import check_tables

        check_tables(config)
    return config
