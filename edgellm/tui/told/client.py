"""The server, from outside: its status, and answers to a chat.

Proxies of the environment are not asked: what is watched is this machine, or one that was named.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import httpx2

from edgellm import status
from edgellm.config import socket_path
from edgellm.errors import KeyRefused, NotServing
from edgellm.status import Status
from edgellm.tui.drawn.untrusted import clean
from edgellm.tui.told.answers import Piece, nobody_there
from edgellm.tui.told.auth import Key, bearer
from edgellm.tui.told.exchange import answer_pieces, body_of
from edgellm.tui.told.questions import AnyMessage, encoded, thinking

_STATUS_TIMEOUT = httpx2.Timeout(5.0, connect=2.0)
_STATUS_WHOLE_S = 15.0  # of one that comes letter by letter


class Stranger(NotServing):
    """Somebody is there who tells nothing that an edgellm of this version would."""


class Server:
    """`url` is http://host:port, https://host:port or unix:/path/to/socket. `transport` is the seam
    for tests, for recordings, and for who knows a server's certificate."""

    def __init__(
        self,
        url: str,
        *,
        api_key: Key = lambda: None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        base = url if "://" in url else "http://localhost"  # a recording's name is no address
        if path := socket_path(url):
            transport = transport or httpx2.AsyncHTTPTransport(uds=path, trust_env=False)
            base = "http://localhost"
        self._http = httpx2.AsyncClient(
            base_url=base, auth=bearer(api_key), transport=transport, trust_env=False
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def status(self) -> Status:
        """Harmless to show. Raises NotServing, whose message says what is wrong: Stranger or
        KeyRefused where somebody is there."""
        try:
            async with asyncio.timeout(_STATUS_WHOLE_S):
                return clean(status.decode(await self._status_bytes()))
        except (httpx2.TimeoutException, TimeoutError) as error:
            raise NotServing(f"{self.url} does not answer") from error
        except httpx2.TransportError as error:
            raise nobody_there(self.url, error) from error
        except httpx2.RequestError as error:  # packed in a way that it isn't
            raise Stranger(f"no edgellm at {self.url}: its answer can't be read") from error
        except status.Unreadable as error:
            raise Stranger(f"{self.url} speaks another version of edgellm") from error

    async def _status_bytes(self) -> bytearray:
        """Raises NotServing for a refusal, Unreadable, and what httpx2 raises."""
        async with self._http.stream("GET", "/edgellm/status", timeout=_STATUS_TIMEOUT) as answer:
            if answer.status_code == 401:
                which = "another" if "authorization" in answer.request.headers else "an"
                raise KeyRefused(f"{self.url} wants {which} API key: set EDGELLM_API_KEY")
            if answer.status_code != 200:
                told = f"no edgellm at {self.url}: it answered {answer.status_code}"
                may_come = answer.status_code >= 500  # behind a proxy, say
                raise NotServing(told) if may_come else Stranger(told)
            return await body_of(answer)

    def answer(
        self, model: str, messages: Sequence[AnyMessage], thinks: bool | None = None
    ) -> AsyncGenerator[Piece]:
        """See `answer_pieces`. `thinks`: None leaves it to the model."""
        return answer_pieces(self._http, self.url, encoded(model, messages, thinking(thinks)))


class Backoff:
    """How long to wait before knocking again: soon at first, then every few seconds."""

    FIRST_S, MOST_S = 0.5, 5.0

    def __init__(self) -> None:
        self._next_s = self.FIRST_S

    def reset(self) -> None:
        self._next_s = self.FIRST_S

    def wait_s(self) -> float:
        now_s, self._next_s = self._next_s, min(2 * self._next_s, self.MOST_S)
        return now_s
