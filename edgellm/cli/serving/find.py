"""Which server a command talks to: the one that is named, or those that run here.

It is named by --host, else by EDGELLM_HOST: `host` is the flag's value.
"""

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgellm.cli.flags.addresses import hears, named_url, place_of
from edgellm.cli.flags.keys import key_for
from edgellm.cli.serving import state
from edgellm.cli.serving.client import Client
from edgellm.config import socket_path
from edgellm.errors import BadRequest, EdgellmError, KeyRefused, NotServing
from edgellm.files import path_of
from edgellm.models.elsewhere.reference import parse_elsewhere
from edgellm.models.hubs import without_prefix
from edgellm.models.names import CatalogReference, parse_reference
from edgellm.status import ModelStatus, Status
from edgellm.tui.drawn.untrusted import clean
from edgellm.tui.told.exchange import PATIENCE_S

_SHORT_S = 2.0  # for their names only
_FLAG, _OR_MODEL = "--host {url}", ", or its model"
_START_ONE = "start one: edgellm up, or edgellm serve MODEL"


@dataclass(frozen=True, slots=True)
class Silent:
    """A server that runs here and could not be asked: it hangs, or opens to another key."""

    url: str
    pid: int
    error: EdgellmError

    @property
    def way_out(self) -> str:
        if isinstance(self.error, KeyRefused):
            return f"set EDGELLM_API_KEY, or end it by kill {self.pid}"
        return f"kill {self.pid} ends it, kill -9 {self.pid} at once"

    def __str__(self) -> str:
        return f"{self.error} (pid {self.pid}); {self.way_out}"


@dataclass(frozen=True, slots=True)
class Found:
    """The servers that run here: those that answer, with their status, those that don't, and those
    that wind up. Of each the newest first."""

    answering: tuple[tuple[str, Status], ...] = ()
    silent: tuple[Silent, ...] = ()
    stopping: tuple[state.Running, ...] = ()
    is_named: bool = False  # it was asked for, wherever it runs

    @property
    def is_empty(self) -> bool:
        return not (self.answering or self.silent or self.stopping)

    def check_silent(self) -> None:
        """Raises NotServing (KeyRefused) that names those which could not be asked."""
        if self.silent:
            raise _trouble(self.silent)


def look(host: str | None = None, *, patience_s: float = PATIENCE_S) -> Found:
    """Raises NotServing where one that is named can't be asked, and says why; ConfigError for
    settings that can't be."""
    if named := named_url(host):
        return Found((_asked_by_name(named, state.running(), patience_s),), is_named=True)
    return look_here(patience_s)


def look_here(patience_s: float = PATIENCE_S) -> Found:
    """Those of this machine, whichever is named. Raises ConfigError."""
    here = state.running()
    with ThreadPoolExecutor(len(here) or 1) as pool:  # two that hang are waited for as long as one
        told = tuple(pool.map(partial(_asked_here, patience_s), here))
    now = state.alive()  # who has begun to wind up meanwhile is no longer what it was
    still_here = [one for server, one in zip(here, told, strict=True) if server in now]
    return Found(
        tuple(one for one in still_here if not isinstance(one, Silent)),
        tuple(one for one in still_here if isinstance(one, Silent)),
        tuple(server for server in now if server.is_stopping),
    )


def host_flag(url: str) -> str:
    """ " --host URL", for a hint's command to mean this server; nothing where it is the only one
    here, and means itself."""
    here = state.running()
    is_alone = len(here) == 1 and hears(here[0].url, url) and not named_url(None)
    return "" if is_alone else f" --host {shlex.quote(url)}"


def is_here(url: str) -> bool:
    """On this machine, as far as is known."""
    return bool(socket_path(url)) or any(hears(one.url, url) for one in state.running())


def statuses(host: str | None = None) -> tuple[tuple[str, Status], ...]:
    """URL and status of every server that answers, the newest first. Raises as `look` does."""
    return look(host).answering


def _trouble(silent: tuple[Silent, ...]) -> NotServing:
    """One error for all of them."""
    if len(silent) == 1:
        (one,) = silent
        kind = KeyRefused if isinstance(one.error, KeyRefused) else NotServing
        return kind(f"{one.error} (pid {one.pid})", hint=one.way_out)
    lines = (f"  {one}" for one in silent)
    return NotServing("\n".join((f"of {len(silent)} servers here:", *lines)))


def server_of(model: str) -> tuple[str, ModelStatus] | None:
    """The server that has this model, and how it is called there. One that was only found, and
    wants a key that we don't have, is somebody else's."""
    return having(model, look())


def having(model: str, found: Found) -> tuple[str, ModelStatus] | None:
    """As `server_of`, of those that were found."""
    return next(((url, served) for url, _, served in servers_with(model, found.answering)), None)


def servers_with(
    text: str, answering: Sequence[tuple[str, Status]]
) -> list[tuple[str, Status, ModelStatus]]:
    """The servers that have it by its name or its file; where none has, by another of its names."""
    for is_it in (is_meant, is_alias):
        rows = [
            (url, status, served)
            for url, status in answering
            if (served := next((one for one in status.models if is_it(text, one)), None))
        ]
        if rows:
            return rows
    return []


def the_server(
    model: str | None = None,
    *,
    host: str | None = None,
    hint: str = _START_ONE,
    named_by: str = _FLAG,
    or_model: str = _OR_MODEL,
) -> tuple[str, Status]:
    """The only one, or the one that has `model`. Raises as `look` and `only` do."""
    return only(look(host), model, hint=hint, named_by=named_by, or_model=or_model)


def only(
    found: Found,
    model: str | None = None,
    *,
    hint: str = _START_ONE,
    named_by: str = _FLAG,
    or_model: str = _OR_MODEL,
    or_all: str = "",
) -> tuple[str, Status]:
    """Of those that were found. `named_by` is how one of several is named, `or_model` that its
    model names it, too, where none was told, `or_all` what takes every one. Raises NotServing,
    BadRequest when unclear."""
    meant = found.answering
    if model is not None:
        meant = tuple((url, status) for url, status, _ in servers_with(model, found.answering))
    if not meant:
        found.check_silent()
        what = f"no running server has {model}" if model else "no server is running here"
        raise NotServing(what, hint=hint)
    if len(meant) > 1:
        by_model = or_model if model is None else ""
        raise BadRequest(
            f"{len(meant)} servers are running: {', '.join(_named(*one) for one in meant)}",
            hint=f"say which: {named_by.format(url=meant[0][0])}{by_model}{or_all}",
        )
    return meant[0]


def the_only() -> state.Running | None:
    """The server that runs here, whether or not it answers. Raises BadRequest where there are
    several."""
    here = state.running()
    if len(here) > 1:
        found = look_here(_SHORT_S)
        names = [_named(*one) for one in found.answering] + [one.url for one in found.silent]
        raise BadRequest(
            f"{len(here)} servers are running: {', '.join(names)}",
            hint=f"say which: --host {here[0].url}",
        )
    return here[0] if here else None


def _asked(url: str, patience_s: float) -> tuple[str, Status]:
    with Client(url, patience_s=patience_s) as client:
        return url, clean(client.status())


def _asked_here(patience_s: float, server: state.Running) -> tuple[str, Status] | Silent:
    """Raises ConfigError: settings that can't be are no server's fault."""
    key_for(server.url)  # who is asked below is asked with it, if it is ours still
    try:
        return _asked(server.url, patience_s)
    except EdgellmError as error:
        return Silent(server.url, server.pid, error)


def _asked_by_name(
    url: str, here: tuple[state.Running, ...], patience_s: float
) -> tuple[str, Status]:
    """Raises NotServing, which can tell more of a server that is one of those here. Below a path
    there is another, or none, and what fails there says nothing of the one at the root."""
    try:
        return _asked(url, patience_s)
    except NotServing as error:
        ours = next((server for server in here if hears(server.url, url)), None)
        if ours and url == place_of(url):
            raise _trouble((Silent(url, ours.pid, error),)) from error
        if ours and not isinstance(error, KeyRefused):
            hint = f"one listens at {ours.url}: is the path right?"
            raise NotServing(str(error), hint=hint) from error
        raise


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
        return path_of(text).resolve() == Path(file).resolve()
    except (OSError, EdgellmError):
        return False


def is_alias(text: str, served: ModelStatus) -> bool:
    """Whether the server knows it by this name, too."""
    return _plain(text) in map(_plain, served.aliases)


def _plain(name: str) -> str:
    return without_prefix(name).removesuffix(":latest").casefold()


def short_forms(name: str) -> tuple[str, ...]:
    """ "hf.co/org/repo:Q8_0" is "org/repo" and "repo", too, with ":Q8_0" or without it;
    "qwen3:8b-q8_0" is "qwen3:8b:Q8_0" and "qwen3:8b"; "ollama:qwen3:8b" is what Ollama's clients
    call it."""
    short = _of_another_tool(name) or without_prefix(name)
    base = short.rpartition("/")[2]
    less = tuple(word.partition(":")[0] for word in (short, base))
    words = (short, base, *(less if "/" in name else _without_quant(name)))
    return tuple(dict.fromkeys(word for word in words if word != name))


def _of_another_tool(name: str) -> str | None:
    """What that tool calls it."""
    try:
        reference = parse_elsewhere(name)
    except BadRequest:  # a user's own words, by --name
        return None
    return reference.name if reference else None


def _without_quant(name: str) -> tuple[str, ...]:
    """Of a name of the catalog that has one."""
    try:
        reference = parse_reference(name) if ":" in name else None
    except BadRequest:  # a user's own words, by --name
        return ()
    if not isinstance(reference, CatalogReference) or not reference.quant:
        return ()
    return f"{reference.name}:{reference.quant}", reference.name
