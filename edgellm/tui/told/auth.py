"""The API key of a request, asked for when it is sent."""

from collections.abc import Callable
from typing import TypeAlias

import httpx2

Key: TypeAlias = Callable[[], str | None]


def bearer(key: Key) -> Callable[[httpx2.Request], httpx2.Request]:
    """For each request anew: another's server may have taken the place of one's own meanwhile."""

    def authorize(request: httpx2.Request) -> httpx2.Request:
        if known := key():
            request.headers["authorization"] = f"Bearer {known}"
        return request

    return authorize
