"""A model for as long as one command lasts: a server that nobody else finds."""

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgellm.cli.flags.addresses import named_url
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.output import say
from edgellm.cli.serving.find import having, host_flag, look
from edgellm.config import Config
from edgellm.errors import BadRequest
from edgellm.tui.terminal import can_draw

if TYPE_CHECKING:
    from edgellm.cli.preparing.prepare import Prepared
    from edgellm.probe.hardware import Hardware

_SOCKET = "private.sock"
_FIGURES = re.compile(r"\d+(?:\.\d+)?")
_MOST_PATH_BYTES = (
    103  # of a socket: sun_path of sys/un.h under macOS, less the zero; Linux has 107
)


@contextmanager
def server_with(
    model: str,
    config: Config,
    options: ModelOptions,
    *,
    flags: Sequence[str] = (),
    host: str | None = None,
) -> Iterator[tuple[str, str]]:
    """Where to ask for the model, and how it is called there.

    The server that is named (`host` is --host), whatever it has; else one that runs here and has
    the model; else a private one. `flags` are the options as they are typed: a server that runs
    heeds none of them. Raises NotServing when the named one isn't there, and what loading raises.
    """
    named, here = named_url(host), look(host)
    found = having(model, here)
    if found and flags:
        say(ignored(flags, model, found[0]))
    if found:
        yield (found[0], found[1].name)
    elif named:
        yield (named, model)  # it will say in its own words that it hasn't got it
    else:
        for server in here.silent:
            say(f"passed over: {server}")
        with private_server(model, config, options) as (url, name):
            yield (url, name)


def ignored(flags: Sequence[str], model: str, url: str) -> str:
    """What to do instead."""
    are = "is" if len(flags) == 1 else "are"
    another = f"edgellm serve {shlex.quote(model)} {' '.join(flags)} --port 0"
    return (
        f"{', '.join(flags)} {are} ignored: {url} serves {model} already, with a plan of its own\n"
        f"  → stop it first (edgellm stop{host_flag(url)}), or serve another beside it ({another})"
    )


@contextmanager
def private_server(
    model: str,
    config: Config,
    options: ModelOptions,
    *,
    api_key: str | None = None,
    n_parallel: int | None = 1,
) -> Iterator[tuple[str, str]]:
    """On a unix socket in a folder that is ours alone, and gone with us; with `api_key` on TCP, for
    programs that know nothing else: who else is on this machine reaches that, and has no key.
    `n_parallel`: conversations at the same time, where nobody says it; None: as the use has them.

    What the server has to tell while it is used is told at the end: an answer is being written.
    """
    # Half a second of imports, that who asks a server which runs need not wait for.
    from edgellm.cli.preparing import machine
    from edgellm.cli.preparing.requested import resolve_requested
    from edgellm.cli.preparing.several import prepare_all

    with _own_folder() as folder:
        resolved = resolve_requested(model, config, options, n_parallel=n_parallel)
        hardware = machine.look()
        (prepared,) = prepare_all([resolved], hardware)
        prepared = replace(prepared, sleeps=False)  # it ends with its command
        if prepared.plan.embedding:
            raise BadRequest(
                f"{prepared.name} is an embedding model and writes no text",
                hint=f"edgellm serve {model}, then POST /v1/embeddings",
            )
        own = msgspec.structs.replace(config, **_door(folder, api_key))
        with _server(own, hardware, prepared) as url:
            yield (url, prepared.name)


def _door(folder: Path, api_key: str | None) -> dict[str, Any]:
    """Settings by which nobody comes in but us."""
    door: dict[str, Any] = {"api_keys": (), "keys": {}, "key_weights": {}}
    if api_key is None:
        return door | {"unix_socket": str(folder / _SOCKET)}
    on_tcp = {"unix_socket": None, "host": "127.0.0.1", "port": 0}
    return door | on_tcp | {"ssl_cert_file": None, "ssl_key_file": None, "api_keys": (api_key,)}


@contextmanager
def _server(config: Config, hardware: "Hardware", prepared: "Prepared") -> Iterator[str]:
    from edgellm.cli.serving.background import BackgroundServer
    from edgellm.cli.serving.loading import LoadingLine
    from edgellm.cli.serving.serving import Instance

    if not can_draw(sys.stderr):
        say(f"loading {prepared.name} …")
    line = LoadingLine()
    teller = _Teller(line.say)
    instance = Instance(
        config,
        hardware,
        (prepared,),
        is_announced=False,
        say=teller.say,
        on_loading=line.follow,
    )
    server = BackgroundServer(instance)
    try:
        try:
            server.start()
        finally:
            line.end()
        with teller.silent():
            yield server.url
    finally:
        server.stop()


@contextmanager
def _own_folder() -> Iterator[Path]:
    """The usual temporary one may lie too deep for the name of a socket."""
    for place in (None, "/tmp"):
        with tempfile.TemporaryDirectory(prefix="edgellm-", dir=place) as folder:
            if len(os.fsencode(Path(folder, _SOCKET))) <= _MOST_PATH_BYTES:
                yield Path(folder)
                return


class _Teller:
    """Says at once what is told while loading, and later what is told while it answers: of what
    differs by its figures only, the last."""

    def __init__(self, say: Callable[[str], None] = say) -> None:
        self._say = say
        self._held: dict[str, str] | None = None

    def say(self, text: str) -> None:
        held = self._held  # the server's thread says it; ours may end the silence meanwhile
        if held is None:
            self._say(text)
        else:
            words = _FIGURES.sub("", text)
            held.pop(words, None)  # the newest comes last
            held[words] = text

    @contextmanager
    def silent(self) -> Iterator[None]:
        held: dict[str, str] = {}
        self._held = held
        try:
            yield
        finally:
            self._held = None
            for text in list(held.values()):
                self._say(text)
