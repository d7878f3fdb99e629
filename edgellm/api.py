"""The library: what the commands do, for Python. `import edgellm` offers it; see its docstring.

Every function here is a thin layer over the rooms; errors are EdgellmError with a message and a
hint, and nothing is printed.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.options import config_from
from edgellm.cli.flags.pins import Pins
from edgellm.cli.preparing import machine
from edgellm.cli.preparing.fetching import fetch_model
from edgellm.cli.preparing.planning import planned
from edgellm.cli.preparing.prepare import Prepared
from edgellm.cli.preparing.requested import (
    RequestedModel,
    as_served,
    resolve_embedding,
    resolve_requested,
)
from edgellm.cli.preparing.several import prepare_all
from edgellm.cli.preparing.store import store_of
from edgellm.cli.serving.async_client import AsyncClient
from edgellm.cli.serving.background import BackgroundServer
from edgellm.cli.serving.client import Client
from edgellm.cli.serving.find import server_of, the_server
from edgellm.cli.serving.serving import Instance
from edgellm.errors import BadRequest, NotServing
from edgellm.errors import EdgellmError as EdgellmError
from edgellm.models.stored import StoredModel
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Plan
from edgellm.selector.telling.explain import explain as _explain
from edgellm.status import Status
from edgellm.tui.told.answers import Piece, Timings
from edgellm.tui.told.auth import Key
from edgellm.tui.told.questions import AnyMessage, Message

Said: TypeAlias = str | Sequence[Mapping[str, Any]]  # or messages: {"role": …, "content": …}


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    reason: str  # "stop", "length"
    n_prompt: int  # tokens, those from the cache included
    n_cached: int
    n_output: int
    decode_tok_s: float | None

    def __str__(self) -> str:
        return self.text


class _Heard:
    """What has come of an answer."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reason = "stop"
        self._timings = Timings()

    def add(self, piece: Piece) -> None:
        self._texts.append(piece.text)
        self._reason = piece.reason or self._reason
        self._timings = piece.timings or self._timings

    def answer(self) -> Answer:
        timings = self._timings
        return Answer(
            text="".join(self._texts),
            reason=self._reason,
            n_prompt=timings.prompt_n + timings.cache_n,
            n_cached=timings.cache_n,
            n_output=timings.predicted_n,
            decode_tok_s=timings.predicted_per_second,
        )


@dataclass(frozen=True, slots=True)
class _Address:
    """Whom to ask. A model "" is the first generative one; without a key `key_for` is asked."""

    url: str
    model: str = ""
    key: Key | None = None


class Server:
    """A running server. Ends with its `with` block, or with `stop`."""

    def __init__(self, background: BackgroundServer, prepared: Sequence[Prepared]) -> None:
        self._background = background
        self.model = prepared[0].name

    @property
    def plan(self) -> Plan:
        """As it was loaded: smaller than planned where memory ran out."""
        return next(iter(self._background.models)).engine.plan

    @property
    def url(self) -> str:
        """For OpenAI's client: OpenAI(base_url=f"{server.url}/v1", api_key="none")."""
        return self._background.url

    def status(self) -> Status:
        address = self._address()
        with Client(address.url, address.key) as client:
            return client.status()

    def _address(self) -> _Address:
        """With the key, if this server asks for one, as long as the URL is its own.

        Raises NotServing.
        """
        if not self._background.is_listening:
            raise NotServing(
                f"{self.model} is no longer served: its server has ended",
                hint="begin another: edgellm.serve(…)",
            )
        return _Address(self.url, self.model, lambda: self._background.api_key)

    def chat(self, message: Said, **sampling: Any) -> Answer:
        return chat(message, server=self, **sampling)

    async def achat(self, message: Said, **sampling: Any) -> Answer:
        return await achat(message, server=self, **sampling)

    def stream(self, message: Said, **sampling: Any) -> Iterator[str]:
        return stream(message, server=self, **sampling)

    def __repr__(self) -> str:
        where = f" at {self.url}" if self._background.is_listening else ", which has ended"
        return f"<edgellm server of {self.model}{where}>"

    def stop(self) -> None:
        self._background.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def probe() -> Hardware:
    """This machine. The first time after a boot, measuring its memory takes a second."""
    return machine.look(waiting=lambda waits: None)


def plan(model: str | Path, *, hardware: Hardware | None = None, **goal: Any) -> Plan:
    """What would run how. `goal`: ctx, parallel, use, objective, ctk, ctv, ngl, threads, reserve …

    Raises DoesNotFit, ModelNotFound, BadGGUF, BadRequest, NetworkError.
    """
    one = RequestedModel.of(_name_of(model), config_from(), ModelOptions(pins=Pins(**goal)))
    resolved = one.with_extras(one.resolved(plan_only=True))
    machine = hardware or probe()
    candidates, wished = as_served(resolved, machine, one.settings.goal)
    made = planned(machine, candidates, wished, is_here=hardware is None)
    return one.settings.told(made)


def explain(made: Plan, hardware: Hardware | None = None) -> str:
    """In words. `hardware` is the machine that it was made for; this one when not said."""
    return _explain(made, hardware or probe())


def serve(
    model: str | Path | Sequence[str | Path],
    *,
    embedding: str | Path | None = None,
    name: str | None = None,
    host: str | None = None,
    port: int = 0,
    unix_socket: str | None = None,
    api_keys: str | Sequence[str] = (),
    offline: bool = False,
    sleep_idle_seconds: float | None = None,
    **goal: Any,
) -> Server:
    """Returns when the model is ready; of several, that take turns in memory, the first. Port 0
    takes a free one; `goal` as for `plan`. An idle model is unloaded after `sleep_idle_seconds`.

    Downloads what is not on this disk. Raises what `plan` raises, and AddressInUse, WorkerDied.
    """
    keys = (api_keys,) if isinstance(api_keys, str) else tuple(api_keys)  # not its letters
    config = config_from(
        host=host, port=port, unix_socket=unix_socket, api_keys=keys or None,
        offline=offline, sleep_idle_seconds=sleep_idle_seconds,
    )  # fmt: skip
    flags = ModelOptions(pins=Pins(**goal), sleep_idle_seconds=sleep_idle_seconds)
    models = model if isinstance(model, list | tuple) and model else [model]
    resolved = [resolve_requested(_name_of(one), config, flags) for one in models]
    beside = resolve_embedding(_name_of(embedding), config, flags) if embedding else None
    hardware = probe()
    prepared = prepare_all(resolved, hardware, embedding=beside, name=name)
    instance = Instance(config, hardware, prepared, say=lambda text: None)
    return Server(BackgroundServer(instance).start(), prepared)


def chat(
    message: Said,
    *,
    model: str | None = None,
    server: Server | str | None = None,
    system: str | None = None,
    **sampling: Any,
) -> Answer:
    """`sampling`: temperature, seed, max_tokens, stop, response_format …, as in OpenAI's API.

    `server` is a Server or a URL. Raises NotServing, ModelNotFound, BadRequest, WorkerDied.
    """
    heard = _Heard()
    for piece in _pieces(message, model, server, system, sampling):
        heard.add(piece)
    return heard.answer()


async def achat(
    message: Said,
    *,
    model: str | None = None,
    server: Server | str | None = None,
    system: str | None = None,
    **sampling: Any,
) -> Answer:
    """`chat` for an event loop. Cancelling it stops the model."""
    heard = _Heard()
    address = await asyncio.to_thread(_where, model, server)  # it may have to look for one
    async with AsyncClient(address.url, address.key) as client:
        async for piece in client.chat(address.model, _messages(message, system), **sampling):
            heard.add(piece)
    return heard.answer()


def stream(
    message: Said,
    *,
    model: str | None = None,
    server: Server | str | None = None,
    system: str | None = None,
    **sampling: Any,
) -> Iterator[str]:
    """The answer as it comes. Closing the iterator stops the model."""
    for piece in _pieces(message, model, server, system, sampling):
        if piece.text:
            yield piece.text


def pull(model: str | Path) -> Path:
    """Downloads it, in the quantization that suits this machine when none is named; what is here
    already, only where the hub has a newer one. Raises EdgellmError."""
    return fetch_model(_name_of(model), config_from(), is_quiet=True)


def list_models() -> tuple[StoredModel, ...]:
    """What was downloaded, by edgellm or by another tool, into Hugging Face's cache."""
    return store_of(config_from()).list()


def _pieces(
    message: Said,
    model: str | None,
    server: Server | str | None,
    system: str | None,
    sampling: Mapping[str, Any],
) -> Iterator[Piece]:
    address = _where(model, server)
    with Client(address.url, address.key) as client:
        yield from client.chat(address.model, _messages(message, system), **sampling)


def _messages(message: Said, system: str | None) -> list[AnyMessage]:
    """What there is in a message of the caller's is the server's to judge."""
    said = [Message("user", message)] if isinstance(message, str) else message
    if not isinstance(said, Sequence):
        raise BadRequest(
            f"{_shown(message)} is nothing to say", hint="a text, or messages with role and content"
        )
    return [Message("system", system), *said] if system else [*said]


def _where(model: str | None, server: Server | str | None) -> _Address:
    if isinstance(server, Server):
        address = server._address()
        return replace(address, model=model or address.model)
    if isinstance(server, str):
        return _Address(server, model or "")
    if server is not None:
        raise BadRequest(f"{_shown(server)} is no server", hint="a Server, or the URL of one")
    if model is None:
        return _Address(the_server(named_by='server="{url}"')[0])
    found = server_of(model)
    if found is None:
        raise NotServing(
            f"no running server has {model}", hint=f'with edgellm.serve("{model}") as server: …'
        )
    return _Address(found[0], found[1].name)


def _name_of(model: object) -> str:
    """As the command line has it. Raises BadRequest for what is none."""
    if isinstance(model, str):
        return model
    if isinstance(model, Path):
        return str(model.absolute())  # a name without a folder would be the catalog's
    raise BadRequest(
        f"{_shown(model)} does not name a model", hint='"qwen3:8b", "org/repo:Q4_0", or a path'
    )


def _shown(value: object) -> str:
    return repr(value)[:40]
