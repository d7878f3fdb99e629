"""What every handler may reach: `request.app.state.gateway`, and how a handler gets at it."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from edgellm.chat.events import Finished
from edgellm.keys import Key
from edgellm.server.answers import Counter
from edgellm.server.body import Bytes
from edgellm.server.door.access import Access
from edgellm.server.door.bodies import Hold
from edgellm.server.door.gate import Gate
from edgellm.server.door.patience import Patience
from edgellm.server.envelope import HTTPProblem
from edgellm.server.served import Models, Served
from edgellm.server.watch.books import Books
from edgellm.server.watch.live import Live
from edgellm.server.watch.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Gateway:
    models: Models
    metrics: Metrics
    live: Live
    gate: Gate
    books: Books
    access: Access = field(default_factory=Access)
    patience: Patience = field(default_factory=Patience)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # set: finish, then go

    def refused(self, error: Exception) -> None:
        self.metrics.refused(error)

    def left(self, served: Served, key: str, finished: Finished) -> None:
        """Books an answer whose client has left, as far as it had come."""
        self.books.left(key, served.name, self.live.priced(served.engine, finished))

    def listens_at(self, url: str) -> None:
        self.live.url = url


def gateway_of(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


def key_of(request: Request) -> Key:
    """The key by which the guard let the request in. On a path that needs none, this is a bug."""
    key: Key = request.state.key
    return key


def models_of(request: Request) -> Models:
    """The models that the request's key may ask."""
    key = key_of(request)
    return gateway_of(request).models.only(key.models, key.name)


def check_quota(request: Request) -> None:
    """Before any work for a request that has a model compute. Raises QuotaExceeded."""
    gateway = gateway_of(request)
    with gateway.metrics.at_the_door():
        gateway.books.check(key_of(request))


def check_admin(request: Request) -> None:
    """Raises HTTPProblem for a key that may not change what is served."""
    key = key_of(request)
    if not key.admin:
        raise HTTPProblem(
            403,
            f"the key {key.name} may not do this; one with admin = true in the settings may",
            code="not_admin",
        )


def counter_of(request: Request) -> Counter:
    gateway = gateway_of(request)
    visit = partial(gateway.books.visit, key_of(request))
    return Counter(gateway.metrics, gateway.gate.enter, gateway.live.priced, visit)


def hold_of(request: Request) -> Hold:
    """Where memory that the request takes beside its body is counted."""
    hold: Hold = request.state.hold
    return hold


async def body_of(request: Request) -> Bytes:
    """Raises HTTPProblem. Starlette's `body()` would keep it until the answer has ended, and would
    join a list of pieces, which leaves holes in the heap that the process can't give back."""
    body = bytearray()
    try:
        async with aclosing(request.stream()) as pieces:
            async for piece in pieces:
                body += piece
    except ClientDisconnect as error:
        raise HTTPProblem(400, "the body broke off", code="client_left") from error
    return body


def json_response(value: msgspec.Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
