"""Which server a command talks to: EDGELLM_HOST, or those that run here."""

from pathlib import Path

from edgellm.cli.serving import state
from edgellm.cli.serving.client import Client, url_of_environment
from edgellm.errors import BadRequest, EdgellmError, KeyRefused, NotServing
from edgellm.status import ModelStatus, Status
from edgellm.tui.untrusted import clean

_START_ONE = "start one: edgellm up, or edgellm serve MODEL"


def statuses() -> tuple[tuple[str, Status], ...]:
    """URL and status of every server that answers, the newest first.

    One that EDGELLM_HOST names must answer: NotServing says why it doesn't. Of those that were only
    found, one that doesn't is left out; KeyRefused where that leaves none, but one wants a key.
    """
    named = url_of_environment()
    if named:
        with Client(named) as client:
            return ((named, clean(client.status())),)
    found, refused = [], None
    for server in state.running():
        try:
            with Client(server.url) as client:
                found.append((server.url, clean(client.status())))
        except KeyRefused as error:
            refused = error
        except NotServing:
            continue
    if refused and not found:
        raise refused
    return tuple(found)


def server_of(model: str) -> tuple[str, ModelStatus] | None:
    """The server that has this model, and how it is called there. One that was only found, and
    wants a key that we don't have, is somebody else's."""
    try:
        found = statuses()
    except KeyRefused:
        if url_of_environment():
            raise
        return None
    for url, status in found:
        for served in status.models:
            if is_meant(model, served):
                return url, served
    return None


def the_server(model: str | None = None, *, hint: str = _START_ONE) -> tuple[str, Status]:
    """The only one, or the one that has `model`. Raises NotServing, BadRequest when unclear."""
    found = statuses()
    if model is not None:
        found = tuple(
            (url, status)
            for url, status in found
            if any(is_meant(model, served) for served in status.models)
        )
    if not found:
        what = f"no running server has {model}" if model else "no server is running here"
        raise NotServing(what, hint=hint)
    if len(found) > 1:
        raise BadRequest(
            f"{len(found)} servers are running: {', '.join(_named(*one) for one in found)}",
            hint=f"say which: EDGELLM_HOST={found[0][0]}, or name its model",
        )
    return found[0]


def _named(url: str, status: Status) -> str:
    return f"{url} ({', '.join(model.name for model in status.models) or 'no model yet'})"


def is_meant(text: str, served: ModelStatus) -> bool:
    """By its name, with or without what may be left out of it, or by its file."""
    if _plain(text) == _plain(served.name):
        return True
    file = served.plan.file if served.plan else ""
    if not text.lower().endswith(".gguf"):
        is_repo = "/" in text and ":" not in text
        return is_repo and _plain(text) == _plain(served.name).partition(":")[0]
    try:
        return Path(text).expanduser().resolve() == Path(file).resolve()
    except (OSError, EdgellmError):
        return False


def _plain(name: str) -> str:
    return name.removeprefix("hf.co/").removesuffix(":latest").casefold()
