"""A model for as long as one command lasts: a server that nobody else finds."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edgellm.cli import machine
from edgellm.cli.background import BackgroundServer
from edgellm.cli.client import url_of_environment
from edgellm.cli.find import server_of, statuses
from edgellm.cli.output import say
from edgellm.cli.prepare import prepare_all
from edgellm.cli.resolve import resolve
from edgellm.cli.serving import Instance
from edgellm.config import Config
from edgellm.errors import BadRequest
from edgellm.selector.plan import Goal


@contextmanager
def server_with(
    model: str, config: Config, goal: Goal, *, has_pins: bool = False
) -> Iterator[tuple[str, str]]:
    """Where to ask for the model, and how it is called there.

    The server in EDGELLM_HOST, whatever it has; else one that runs here and has the model; else
    a private one. Raises NotServing when the named one isn't there, and what loading raises.
    """
    named = url_of_environment()
    if named:
        statuses()  # raises NotServing
    found = server_of(model)
    if found and has_pins:
        say(f"{found[0]} serves {found[1].name} already, as it was planned there: no pin holds")
    if found:
        yield (found[0], found[1].name)
    elif named:
        yield (named, model)  # it will say in its own words that it hasn't got it
    else:
        with private_server(model, config, goal) as (url, name):
            yield (url, name)


@contextmanager
def private_server(model: str, config: Config, goal: Goal) -> Iterator[tuple[str, str]]:
    """On a unix socket in a folder that is ours alone, and gone with us."""
    with tempfile.TemporaryDirectory(prefix="edgellm-") as folder:
        resolved = resolve(model, config)
        hardware = machine.look()
        (prepared,) = prepare_all(resolved, hardware, goal)
        if prepared.plan.embedding:
            raise BadRequest(
                f"{prepared.name} is an embedding model and writes no text",
                hint=f"edgellm serve {model}, then POST /v1/embeddings",
            )
        say(f"loading {prepared.name} …")
        own = msgspec.structs.replace(
            config, unix_socket=str(Path(folder) / "private.sock"), api_keys=()
        )
        server = BackgroundServer(Instance(own, hardware, (prepared,), is_announced=False)).start()
        try:
            yield (server.url, prepared.name)
        finally:
            server.stop()
