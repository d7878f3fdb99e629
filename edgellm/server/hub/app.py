"""The hub as an application: a request's line is read, the disk looked at, the answer sent.

Who may ask, how much and how slowly is the door's affair, as with the APIs: `Guard` stands before
all of this. The disk is looked at by threads: a cache on a network drive may take its time.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import Receive, Scope, Send

from edgellm.errors import EdgellmError
from edgellm.models.names import MAIN
from edgellm.server.door.access import Access
from edgellm.server.door.bodies import Bodies
from edgellm.server.door.patience import Patience
from edgellm.server.envelope import HTTPProblem, status_of
from edgellm.server.guard import Guard
from edgellm.server.hub import asked, told
from edgellm.server.hub.asked import Asked
from edgellm.server.hub.page import page
from edgellm.server.hub.ranges import is_open, span_of
from edgellm.server.hub.sending import RateLimit, Sending
from edgellm.server.hub.shelf import Opened, Shelf
from edgellm.server.hub.told import MANNER, Fields
from edgellm.units import KIB

_MOST_FORM_BYTES: Final = 64 * KIB


@dataclass(frozen=True, slots=True)
class Download:
    """One that has ended: whole, or broken off."""

    client: str
    repo: str
    path: str
    start: int
    sent_bytes: int
    size_bytes: int
    took_s: float

    @property
    def is_whole(self) -> bool:
        return self.start + self.sent_bytes == self.size_bytes


@dataclass(slots=True)
class Door:
    """What server/serve.py asks of an application."""

    access: Access
    patience: Patience
    refused: Callable[[Exception], None]
    url: str = ""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def listens_at(self, url: str) -> None:
        self.url = url


def create_hub(
    shelf: Shelf,
    access: Access,
    *,
    limit: RateLimit | None = None,
    on_ended: Callable[[Download], None] = lambda download: None,
    on_refused: Callable[[Exception], None] = lambda error: None,
) -> Starlette:
    """`on_ended` is told of each download, not of looks at a file's parts."""
    door = Door(access, Patience(), on_refused)
    bodies = Bodies(access.all_bodies_bytes)
    guard = Middleware(Guard, access, door.patience, bodies, on_refused, lambda path: MANNER)
    app = Starlette(middleware=[guard])
    app.router.default = _Hub(shelf, door, limit or RateLimit(), on_ended)
    app.state.gateway = door
    return app


class _Hub:
    """In the router's place: its routes would decode a path before it is taken apart."""

    def __init__(
        self, shelf: Shelf, door: Door, limit: RateLimit, on_ended: Callable[[Download], None]
    ) -> None:
        self._shelf, self._door, self._limit, self._on_ended = shelf, door, limit, on_ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            wanted = asked.asked(scope["method"], scope["raw_path"], scope["query_string"])
            if isinstance(wanted, asked.Content):
                await self._content(wanted, scope, receive, send)
                return
            body, kind = await self._words(wanted, scope, receive)
        except EdgellmError as error:
            if scope["state"].get("is_begun"):
                raise
            self._door.refused(error)
            body, kind = MANNER.error(error, ""), b"application/json"
            await _say(send, status_of(error), body, kind, told.error_fields(error))
        else:
            await _say(send, 200, body, kind, [])

    async def _words(self, wanted: Asked, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        """All answers but files."""
        if isinstance(wanted, asked.Page):
            words = await asyncio.to_thread(self._page, _seen_at(scope, self._door.url))
            return words.encode(), b"text/plain; charset=utf-8"
        names = asked.named_paths(await _body(receive)) if isinstance(wanted, asked.Named) else ()
        value = await asyncio.to_thread(self._told, wanted, names)
        return msgspec.json.encode(value), b"application/json"

    def _page(self, url: str) -> str:
        return page(self._shelf.copies(), url, has_key=bool(self._door.access.keys))

    def _told(self, wanted: Asked, names: tuple[str, ...]) -> Any:
        shelf = self._shelf
        match wanted:
            case asked.Search(limit=limit):
                found = (one for one in shelf.copies() if wanted.finds(one.repo, one.tags))
                return [told.summary(one) for one in told.sorted_by_name(found)[:limit]]
            case asked.Info(repo, revision):
                return told.info(shelf.copy(repo, revision))
            case asked.Tree(repo, revision, folder, is_recursive):
                return told.tree(shelf.copy(repo, revision), folder, is_recursive=is_recursive)
            case asked.Named(repo, revision):
                return told.entries(shelf.copy(repo, revision), names)
            case asked.Refs(repo):
                return told.refs(shelf.refs(repo))
            case asked.Manifest(repo, label):
                return told.manifest(shelf.copy(repo, MAIN), label)
        return {"status": "ok"}

    async def _content(
        self, wanted: asked.Content, scope: Scope, receive: Receive, send: Send
    ) -> None:
        opened = await asyncio.to_thread(
            self._shelf.open, wanted.repo, wanted.revision, wanted.path
        )
        try:
            await self._sent(wanted, opened, scope, receive, send)
        finally:
            opened.close()

    async def _sent(
        self, wanted: asked.Content, opened: Opened, scope: Scope, receive: Receive, send: Send
    ) -> None:
        file, headers = opened.file, Headers(scope=scope)
        wanted_range = _range(headers, told.etag(file))
        span = span_of(wanted_range, file.size_bytes)
        if span is None:
            words = f"the file ends before byte {file.size_bytes}".encode()
            await _say(send, 416, words, b"text/plain", told.unsatisfied_fields(file))
            return
        fields = told.content_fields(file, opened.commit, span)
        status = 206 if span.is_part else 200
        await send({"type": "http.response.start", "status": status, "headers": fields})
        scope["state"]["is_begun"] = True
        if scope["method"] == "HEAD" or not span.n_bytes:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        sending, began_s = Sending(opened.handle, span, self._limit), time.monotonic()
        try:
            await sending.run(receive, send)
        finally:
            if is_open(wanted_range):
                took_s = time.monotonic() - began_s
                client = (scope.get("client") or ("?",))[0]
                self._on_ended(
                    Download(
                        client, wanted.repo, wanted.path, span.start, sending.sent_bytes,
                        file.size_bytes, took_s,
                    )
                )  # fmt: skip


def _range(headers: Headers, etag: str) -> str | None:
    """Of another content than the client has begun with, a part would be none of its file."""
    condition = headers.get("if-range")
    return headers.get("range") if condition in (None, f'"{etag}"') else None


def _seen_at(scope: Scope, url: str) -> str:
    """As the client calls this hub: the door has let that name in."""
    host = Headers(scope=scope).get("host")
    return f"{scope.get('scheme', 'http')}://{host}" if host else url


async def _body(receive: Receive) -> bytes:
    """Raises HTTPProblem."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _MOST_FORM_BYTES:
            raise HTTPProblem(413, f"the form is larger than {_MOST_FORM_BYTES} bytes")
        if not message.get("more_body", False):
            return bytes(body)


async def _say(send: Send, status: int, body: bytes, kind: bytes, fields: Fields) -> None:
    head = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *fields]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": False})
