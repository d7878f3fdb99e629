"""What a server lacks for an app, in words that say what to do. Pure."""

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from edgellm.cli.launching.apps import App
from edgellm.status import ModelStatus


class Shortcoming(NamedTuple):
    text: str
    mend: str  # the command for it


def shortcomings(app: App, model: ModelStatus, *, is_served: bool) -> Iterator[Shortcoming]:
    """Nothing is said of what nobody knows. `is_served`: else it is loaded for this app alone."""
    n_ctx, n_ctx_train = model.plan.n_ctx_seq if model.plan else None, model.n_ctx_train
    lacks = f"{app.title} needs some {app.needs_ctx} tokens of context, and {model.name}"
    another = f"edgellm recommend --use {app.use}"
    if n_ctx_train is not None and n_ctx_train < app.needs_ctx:
        yield Shortcoming(f"{lacks} was trained for {n_ctx_train}", another)
    elif n_ctx is not None and n_ctx < app.needs_ctx:
        yield Shortcoming(
            f"{lacks} has {n_ctx}: a prompt that doesn't fit is refused",
            f"{_command(app, shlex.quote(model.name), is_served)} --ctx {app.needs_ctx}",
        )
    if app.needs_tools and model.shows_tools is False:
        yield Shortcoming(
            f"{app.title} works by calling tools, and {model.name} was not made for that: its chat "
            "template shows none",
            another,
        )


def _command(app: App, model: str, is_served: bool) -> str:
    if is_served:
        return f"edgellm serve {model} --use {app.use}"
    return f"edgellm launch {app.name} --model {model}"
