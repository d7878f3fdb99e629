"""An app's facts and a server's, put together: what is started, with what in its environment and
in files of its own. Pure.

    launch = wired(app, Place("http://127.0.0.1:8484", "demo", None, 8192), ("-p", "hi"), "/tmp/x")
    launch.argv            ("claude", "--model", "demo", "-p", "hi")
    launch.environment     {"ANTHROPIC_BASE_URL": "http://127.0.0.1:8484", …}
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from string import Template
from typing import Any
from urllib.parse import urlsplit

import msgspec

from edgellm.cli.launching.apps import App
from edgellm.values import frozen

KEYLESS = "none"  # a word for clients that refuse to ask without a key
_THE_KEY = '"$EDGELLM_API_KEY"'  # as a shell finds it
_N_CTX_UNKNOWN = 32768  # of a model that is loaded when it is asked for
_COUNTS = ("$n_ctx", "$n_answer")  # by themselves they are numbers


@frozen
class Place:
    """A model, and where it is asked."""

    url: str  # http://host:port
    model: str
    key: str | None = None  # None: it asks for none
    n_ctx: int | None = None  # tokens; None: nobody knows yet
    is_private: bool = False  # it is there for this app alone

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


@frozen
class Launch:
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    unset: tuple[str, ...]
    files: Mapping[str, str]  # by path: what has to be there
    secrets: frozenset[str]  # of `environment`: those that hold the key


def wired(app: App, place: Place, arguments: Sequence[str], folder: str) -> Launch:
    """`folder` is where its files would lie. `arguments` are the user's."""
    words = _words(place)
    config = msgspec.json.encode(_filled(app.config, words)).decode() if app.config else ""
    path = f"{folder}/{app.name}.json"
    words |= {"config": config, "file": path}
    used = (*app.arguments, *app.environment.values())
    return Launch(
        argv=(app.program, *_filled(app.arguments, words), *(arguments or app.session)),
        environment={name: str(value) for name, value in _filled(app.environment, words).items()},
        unset=app.unset,
        files={path: config} if "$file" in used else {},
        secrets=frozenset(name for name, value in app.environment.items() if value == "$key"),
    )


def as_shell(launch: Launch, *, asks_for_key: bool) -> str:
    """The same for a shell, without the key: EDGELLM_API_KEY stands for it."""
    return "\n".join(_lines(launch, asks_for_key))


def _words(place: Place) -> dict[str, str]:
    n_ctx = place.n_ctx or _N_CTX_UNKNOWN
    return {
        "url": place.url,
        "api": f"{place.url}/v1",
        "model": place.model,
        "key": place.key or KEYLESS,
        "n_ctx": str(n_ctx),
        "n_answer": str(n_ctx // 4),
    }


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    """Whatever it is made of, with the words in their places."""
    match value:
        case str():
            text = Template(value).substitute(words)
            return int(text) if value in _COUNTS else text
        case dict():
            return {_filled(name, words): _filled(one, words) for name, one in value.items()}
        case tuple():
            return [_filled(one, words) for one in value]
    return value


def _lines(launch: Launch, asks_for_key: bool) -> Iterator[str]:
    for path, text in launch.files.items():
        folder = shlex.quote(path.rpartition("/")[0])
        yield f"mkdir -p {folder}"
        yield f"printf '%s' {shlex.quote(text)} > {shlex.quote(path)}"
    if launch.unset:
        yield f"unset {' '.join(launch.unset)}"
    for name, value in launch.environment.items():
        is_key = asks_for_key and name in launch.secrets
        yield f"export {name}={_THE_KEY if is_key else shlex.quote(value)}"
    yield shlex.join(launch.argv)
