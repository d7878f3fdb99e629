"""A question's way to a server and its answer's way back, over whichever httpx2 client."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from edgellm import status
from edgellm.errors import NotServing, WorkerDied
from edgellm.tui.told.answers import Ended, Piece, cut_off, nobody_there, piece, refusal
from edgellm.tui.told.questions import PATH

CONNECT_S = 3.0
PATIENCE_S = 10.0  # with a server that has nothing to compute for it
BETWEEN_CHUNKS_S = 600.0  # a long prompt on a slow machine, where nobody says that it is read


def request(content: bytes) -> dict[str, Any]:
    """What an HTTP client is to send."""
    return {
        "method": "POST",
        "url": PATH,
        "content": content,
        "headers": {"content-type": "application/json"},
        "timeout": httpx2.Timeout(BETWEEN_CHUNKS_S, connect=CONNECT_S),
    }


@contextmanager
def connection_errors(url: str) -> Iterator[None]:
    """Around the reading of an answer. Raises NotServing, WorkerDied."""
    try:
        yield
    except httpx2.ConnectError as error:
        raise nobody_there(url, error) from error
    except (httpx2.RequestError, status.Unreadable) as error:
        raise WorkerDied("the connection broke before the answer was whole") from error


async def answer_pieces(
    http: httpx2.AsyncClient, url: str, content: bytes, patience_s: float = PATIENCE_S
) -> AsyncGenerator[Piece]:
    """Closed or cancelled early, it closes the connection, which cancels the request.

    Raises NotServing without a server, WorkerDied where the stream is cut off, else the error that
    the server tells: ContextTooLong before the first word.
    """
    with connection_errors(url):
        async with http.stream(**request(content)) as response:
            if response.status_code >= 400:
                try:
                    async with asyncio.timeout(patience_s):
                        told = await body_of(response)
                except TimeoutError as error:  # letter by letter
                    raise NotServing(f"{url} does not answer") from error
                raise refusal(url, response.status_code, told)
            async for line in response.aiter_lines():
                match piece(line):
                    case Piece() as found:
                        yield found
                    case Ended():
                        return
    raise cut_off()


async def body_of(answer: httpx2.Response) -> bytearray:
    """Its body. Raises Unreadable for one without an end, and what httpx2 raises."""
    body = bytearray()
    async for part in answer.aiter_bytes():
        status.take(body, part)
    return body
