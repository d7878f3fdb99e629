"""Pictures from the web, for who has said from which hosts (`image_hosts`). From no other, ever.

A server that fetches what a stranger names reaches places that only it can reach. So nothing is
fetched by default; a host counts by its exact name and port; a redirect is refused, since it would
lead elsewhere; neither proxies nor keys of the environment are used; and who reads the address to
allow it is who reads it to go there: two readers can understand it in two ways.
"""

import asyncio
import base64
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx2
import msgspec

from edgellm.chat.pictures import MAX_BYTES, MAX_PICTURES
from edgellm.errors import BadRequest
from edgellm.server.body import Bytes
from edgellm.server.door.bodies import Hold

_PATIENCE_S = 10.0  # for one picture, from the first byte to the last
_MAX_TOTAL_BYTES = 32 << 20  # of one request
_AT_ONCE = 4  # requests whose pictures are being fetched
_PICTURES = (b"image_url", b'"image"')  # no request with one does without either
_AS_IT_IS = {"accept-encoding": "identity"}  # a packed answer may unpack to any size


class ImageHosts:
    def __init__(self, hosts: Iterable[str] = ()) -> None:
        """`hosts`: "images.example.com", or with a port that isn't http's or https's own."""
        self._hosts = frozenset(host.lower() for host in hosts)
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def inlined(self, body: Bytes, hold: Hold, check_model: Callable[[str], object]) -> Bytes:
        """The request with data: URLs for those addresses that may be fetched. Others stay, and
        so does what is no request at all: who reads it next refuses it in better words.

        Raises BadRequest that names the part, HTTPProblem when `hold` has no room for what came,
        and before anything is fetched what `check_model` raises for the model that is asked; "":
        for none.
        """
        if not self._hosts or not any(word in body for word in _PICTURES):
            return body
        try:
            decoded = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body
        wanted = [(holder, key, where) for holder, key, where in _urls(decoded)
                  if self._fetchable(holder[key])]  # fmt: skip
        if not wanted:
            return body
        model = decoded.get("model") or ""
        if not isinstance(model, str):
            return body
        check_model(model)
        async with self._turns, httpx2.AsyncClient(trust_env=False, timeout=_PATIENCE_S) as client:
            left = _MAX_TOTAL_BYTES
            for holder, key, where in wanted[:MAX_PICTURES]:
                url = httpx2.URL(holder[key])
                data = await _fetched(client, url, where, min(left, MAX_BYTES))
                left -= len(data)
                text = base64.b64encode(data).decode()
                hold.add(len(text))
                holder[key] = f"data:image/*;base64,{text}"
        return msgspec.json.encode(decoded)

    def _fetchable(self, text: str) -> bool:
        try:
            url = httpx2.URL(text)
        except (httpx2.InvalidURL, ValueError):
            return False
        if url.scheme not in ("http", "https") or url.userinfo:
            return False
        place = url.host if url.port is None else f"{url.host}:{url.port}"  # None: the usual port
        return place in self._hosts


def _urls(decoded: Any) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Where a URL stands in it: the object, its key, and the part's name for errors."""
    for part, where in _parts(decoded):
        is_anthropics = part.get("type") == "image"
        image = part.get("source" if is_anthropics else "image_url")
        holder, key = (image, "url") if isinstance(image, dict) else (part, "image_url")
        if isinstance(holder.get(key), str):
            yield holder, key, where


def _parts(decoded: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Of a chat's messages, where a tool's result among them has some, too; and of a response's
    input, where a tool's output has."""
    for conversation, holds in (("messages", ("content",)), ("input", ("content", "output"))):
        several = decoded.get(conversation) if isinstance(decoded, dict) else None
        for i, one in enumerate(several if isinstance(several, list) else ()):
            for field in holds:
                for part, where in _listed(one, field, f"{conversation}[{i}]"):
                    yield part, where
                    yield from _listed(part, "content", where)


def _listed(holder: Any, field: str, where: str) -> Iterator[tuple[dict[str, Any], str]]:
    parts = holder.get(field) if isinstance(holder, dict) else None
    for n, part in enumerate(parts if isinstance(parts, list) else ()):
        if isinstance(part, dict):
            yield part, f"{where}.{field}[{n}]"


async def _fetched(client: httpx2.AsyncClient, url: httpx2.URL, where: str, at_most: int) -> bytes:
    data = bytearray()
    try:
        async with (
            asyncio.timeout(_PATIENCE_S),
            client.stream("GET", url, headers=_AS_IT_IS) as answer,
        ):
            if answer.status_code != 200:
                said = f"its host answered {answer.status_code}"
                raise BadRequest(f"{where}: {said}", param=where)
            async for piece in answer.aiter_raw():
                data += piece
                if len(data) > at_most:
                    raise BadRequest(f"{where}: more than {at_most} bytes", param=where)
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
        raise BadRequest(f"{where}: its host could not be reached", param=where) from error
    return bytes(data)
