"""The server that an app is to speak with: the one that is named, one that runs here, or a private
one for as long as the app runs."""

import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from edgellm.cli.flags.addresses import hears, named_url
from edgellm.cli.flags.keys import key_for
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.pins import Pins
from edgellm.cli.launching.apps import App
from edgellm.cli.launching.wiring import Place
from edgellm.cli.output import say
from edgellm.cli.serving import state
from edgellm.cli.serving.client import Client
from edgellm.cli.serving.find import having, look, only
from edgellm.cli.serving.private import ignored, private_server
from edgellm.config import Config, socket_path
from edgellm.errors import BadRequest, NotServing
from edgellm.status import ModelStatus, Status


def place_here(app: App, model: str | None, host: str | None) -> tuple[Place, ModelStatus] | None:
    """None: no server that runs has `model`. Raises NotServing where none was named and none
    answers, BadRequest where several do or the app can't speak with it, ConfigError."""
    found = look(host)
    if model is None:
        hint = (
            f"start one: edgellm serve MODEL --use {app.use}; or edgellm launch {app.name} "
            "--model MODEL, and it ends with the app"
        )
        url, status = only(found, hint=hint, or_model=", or its model by --model")
        served = _that_writes(url, status)
    elif meant := having(model, found):
        url, served = meant
    elif named_url(host):
        raise NotServing(f"{named_url(host)} has no {model}", hint="edgellm ps shows what it has")
    else:
        for server in found.silent:
            say(f"passed over: {server}")
        return None
    _check_reachable(app, url, served)
    return Place(url, served.name, key_for(url), _n_ctx(served)), served


@contextmanager
def place_for(
    app: App, model: str | None, host: str | None, ctx: int | None, config: Config
) -> Iterator[tuple[Place, ModelStatus]]:
    """As `place_here`; a model that isn't served is loaded, which raises what loading raises."""
    flags = () if ctx is None else (f"--ctx {ctx}",)
    if found := place_here(app, model, host):
        place, served = found
        if flags:
            say(ignored(flags, served.name, place.url))
        yield found
        return
    assert model is not None
    key = secrets.token_urlsafe()
    options = ModelOptions(pins=Pins(use=app.use, ctx=ctx))
    n_parallel = None if app.use == "agent" else 1  # agents have helpers that ask meanwhile
    private = private_server(model, config, options, api_key=key, n_parallel=n_parallel)
    with private as (url, name):
        with Client(url, lambda: key) as client:
            (served,) = client.status().models
        yield Place(url, name, key, _n_ctx(served), is_private=True), served


def _that_writes(url: str, status: Status) -> ModelStatus:
    """As the server itself takes no name: the first that answers chats."""
    for model in status.models:
        if not model.embedding:
            return model
    raise BadRequest(
        f"{url} serves no model that writes text", hint="edgellm serve MODEL --use agent --port 0"
    )


def _n_ctx(served: ModelStatus) -> int | None:
    return served.plan.n_ctx_seq if served.plan else None


def _check_reachable(app: App, url: str, served: ModelStatus) -> None:
    """Raises BadRequest for a unix socket."""
    if socket_path(url):
        raise BadRequest(
            f"{app.title} can't speak over a unix socket, and {served.name} is served on {url}",
            hint=f"another one on TCP: edgellm serve {shlex.quote(served.name)} --port 0",
        )
    if any(server.certificate and hears(server.url, url) for server in state.running()):
        say(
            f"{app.title} refuses the server's certificate, unless it knows who has signed it\n"
            f"  → {app.certificates}=FILE edgellm launch {app.name}, with that authority's file"
        )
