"""The library: what the commands do, for Python. `import edgellm` offers it; see its docstring.

Every function here is a thin layer over the rooms; errors are EdgellmError with a message and a
hint, and nothing is printed.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import msgspec

from edgellm.cli.flags.options import config_from
from edgellm.cli.flags.pins import Pins
from edgellm.cli.flags.seeing import Seeing
from edgellm.cli.preparing import machine
from edgellm.cli.preparing.fetching import fetch_model
from edgellm.cli.preparing.planning import planned
from edgellm.cli.preparing.prepare import Prepared, prepare_all
from edgellm.cli.preparing.resolve import resolve
from edgellm.cli.preparing.store import store_of
from edgellm.cli.serving.background import BackgroundServer
from edgellm.cli.serving.client import Client, Message, Piece
from edgellm.cli.serving.find import server_of, the_server
from edgellm.cli.serving.serving import Instance
from edgellm.errors import EdgellmError as EdgellmError
from edgellm.errors import NotServing
from edgellm.models.store import StoredModel
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Plan
from edgellm.selector.telling.explain import explain as _explain
from edgellm.status import Status

Said: TypeAlias = str | Sequence[Mapping[str, str]]  # or messages: {"role": …, "content": …}


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
        with self._client() as client:
            return client.status()

    def _client(self) -> Client:
        """One that has the key, if this server asks for one, as long as the URL is its own.

        Raises NotServing.
        """
        if not self._background.is_listening:
            raise NotServing(
                f"{self.model} is no longer served: its server has ended",
                hint="begin another: edgellm.serve(…)",
            )
        return Client(self.url, lambda: self._background.api_key)

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


def plan(model: str, *, hardware: Hardware | None = None, **goal: Any) -> Plan:
    """What would run how. `goal`: ctx, parallel, use, objective, ctk, ctv, ngl, threads, reserve …

    Raises DoesNotFit, ModelNotFound, BadGGUF, BadRequest, NetworkError.
    """
    resolved = Seeing().applied(resolve(model, config_from(), plan_only=True))
    machine = hardware or probe()
    return planned(machine, resolved.candidates, Pins(**goal).goal(), is_here=hardware is None)


def explain(made: Plan, hardware: Hardware | None = None) -> str:
    """In words. `hardware` is the machine that it was made for; this one when not said."""
    return _explain(made, hardware or probe())


def serve(
    model: str,
    *,
    embedding: str | None = None,
    name: str | None = None,
    host: str | None = None,
    port: int = 0,
    unix_socket: str | None = None,
    api_keys: str | Sequence[str] = (),
    offline: bool = False,
    **goal: Any,
) -> Server:
    """Returns when the model is ready. Port 0 takes a free one; `goal` as for `plan`.

    Downloads what is not on this disk. Raises what `plan` raises, and AddressInUse, WorkerDied.
    """
    keys = (api_keys,) if isinstance(api_keys, str) else tuple(api_keys)  # not its letters
    config = config_from(
        host=host, port=port, unix_socket=unix_socket, api_keys=keys or None,
        offline=offline,
    )  # fmt: skip
    wish = Pins(**goal).goal(config.reserve)
    resolved = Seeing().applied(resolve(model, config))
    beside = resolve(embedding, config) if embedding else None
    hardware = probe()
    prepared = prepare_all(resolved, hardware, wish, embedding=beside, name=name)
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
    texts, last = [], Piece()
    for piece in _pieces(message, model, server, system, sampling):
        texts.append(piece.text)
        last = Piece(reason=piece.reason or last.reason, timings=piece.timings or last.timings)
    timings = last.timings
    return Answer(
        text="".join(texts),
        reason=last.reason or "stop",
        n_prompt=timings.prompt_n + timings.cache_n if timings else 0,
        n_cached=timings.cache_n if timings else 0,
        n_output=timings.predicted_n if timings else 0,
        decode_tok_s=timings.predicted_per_second if timings else None,
    )


async def achat(
    message: Said,
    *,
    model: str | None = None,
    server: Server | str | None = None,
    system: str | None = None,
    **sampling: Any,
) -> Answer:
    """`chat` on a thread, so that the event loop goes on."""
    return await asyncio.to_thread(
        chat, message, model=model, server=server, system=system, **sampling
    )


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


def pull(model: str) -> Path:
    """Downloads it, in the quantization that suits this machine when none is named."""
    return fetch_model(model, config_from(), is_quiet=True)


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
    messages = [Message("system", system)] if system else []
    if isinstance(message, str):
        messages.append(Message("user", message))
    else:
        messages += msgspec.convert(list(message), list[Message])
    client, name = _where(model, server)
    with client:
        yield from client.chat(name, messages, **sampling)


def _where(model: str | None, server: Server | str | None) -> tuple[Client, str]:
    """Who is asked, and the model's name there; the name "" means the first generative one."""
    if isinstance(server, Server):
        return server._client(), model or server.model
    if isinstance(server, str):
        return Client(server), model or ""
    if model is None:
        return Client(the_server()[0]), ""
    found = server_of(model)
    if found is None:
        raise NotServing(
            f"no running server has {model}", hint=f'with edgellm.serve("{model}") as server: …'
        )
    return Client(found[0]), found[1].name
