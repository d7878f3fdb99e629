"""The programs that can be launched: what profiles/apps.toml says of them."""

import difflib
from functools import cache
from typing import Any, Literal

import msgspec

from edgellm.errors import BadRequest
from edgellm.resources import ProfileRow, profiles_dir, read_profile

_OF_MODELS = ":/."  # qwen3:8b, org/repo, model.gguf: no app has these in its name


class App(ProfileRow, frozen=True, kw_only=True):
    """The file's head says what each field means."""

    name: str
    title: str
    program: str
    dialect: Literal["openai", "responses", "anthropic"]
    install: str
    needs_ctx: int
    needs_tools: bool = False
    use: Literal["agent", "chat"] = "agent"
    arguments: tuple[str, ...] = ()
    session: tuple[str, ...] = ()
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    unset: tuple[str, ...] = ()
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    certificates: str


class Apps(ProfileRow, frozen=True, kw_only=True):
    app: tuple[App, ...]


@cache
def load() -> tuple[App, ...]:
    """In the file's order. Raises ConfigError."""
    return read_profile(profiles_dir() / "apps.toml", Apps).app


def named(name: str) -> App:
    """By its own name or its program's. Raises BadRequest."""
    for app in load():
        if name in (app.name, app.program):
            return app
    names = [app.name for app in load()]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(names)}"
    if set(name) & set(_OF_MODELS):
        hint = f"a model goes with an app: edgellm launch APP --model {name}"
    raise BadRequest(f"nothing is known of an app called {name!r}", hint=hint)
