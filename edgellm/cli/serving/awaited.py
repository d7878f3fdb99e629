"""The client of a program that has an event loop: an answer that may be given up."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Self

import httpx2

from edgellm.cli.flags.keys import key_for
from edgellm.cli.serving.client import (
    PATIENCE_S,
    AnyMessage,
    Piece,
    base_and_socket,
    broken_off,
    cut_off,
    piece_of,
    question,
    refusal,
)
from edgellm.errors import EdgellmError, NotServing
from edgellm.tui.told.answers import Chunk, Ended, event
from edgellm.tui.told.client import whole
from edgellm.tui.told.signing import Key, signed


class AwaitedClient:
    """`url`, `api_key` and `patience_s` as Client has them."""

    def __init__(
        self, url: str, api_key: Key | None = None, *, patience_s: float = PATIENCE_S
    ) -> None:
        self.url, self._patience_s = url, patience_s
        base, path = base_and_socket(url)
        self._http = httpx2.AsyncClient(
            base_url=base,
            auth=signed(api_key or partial(key_for, url)),
            transport=httpx2.AsyncHTTPTransport(uds=path, trust_env=False),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def chat(
        self, model: str, messages: Sequence[AnyMessage], **options: object
    ) -> AsyncIterator[Piece]:
        """Cancelled while it waits, it closes the connection, which cancels the request."""
        with broken_off(self.url):
            async with self._http.stream(**question(model, messages, options)) as response:
                if response.status_code >= 400:
                    raise await self._refusal(response)
                async for line in response.aiter_lines():
                    match event(line):
                        case Chunk() as chunk:
                            yield piece_of(chunk)
                        case Ended():
                            return
        raise cut_off()

    async def _refusal(self, answer: httpx2.Response) -> EdgellmError:
        """Raises Unreadable, and NotServing for one that comes letter by letter."""
        try:
            async with asyncio.timeout(self._patience_s):
                return refusal(self.url, answer.status_code, await whole(answer))
        except TimeoutError as error:
            raise NotServing(f"{self.url} does not answer") from error
