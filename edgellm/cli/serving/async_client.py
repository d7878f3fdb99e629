"""The client of a program that has an event loop: an answer that may be given up."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Self

import httpx2

from edgellm.cli.flags.keys import key_for
from edgellm.cli.serving.client import base_and_socket
from edgellm.cli.serving.trust import trust_for
from edgellm.tui.told.answers import Piece
from edgellm.tui.told.auth import Key, bearer
from edgellm.tui.told.exchange import PATIENCE_S, answer_pieces
from edgellm.tui.told.questions import AnyMessage, encoded


class AsyncClient:
    """`url`, `api_key` and `patience_s` as Client has them."""

    def __init__(
        self, url: str, api_key: Key | None = None, *, patience_s: float = PATIENCE_S
    ) -> None:
        self.url, self._patience_s = url, patience_s
        base, path = base_and_socket(url)
        self._http = httpx2.AsyncClient(
            base_url=base,
            auth=bearer(api_key or partial(key_for, url)),
            transport=httpx2.AsyncHTTPTransport(trust_for(base), uds=path, trust_env=False),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def chat(
        self, model: str, messages: Sequence[AnyMessage], **options: object
    ) -> AsyncGenerator[Piece]:
        """Cancelled while it waits, it closes the connection, which cancels the request."""
        content = encoded(model, messages, options)
        return answer_pieces(self._http, self.url, content, self._patience_s)
