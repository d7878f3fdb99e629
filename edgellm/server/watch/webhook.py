"""Tells somebody else's program when a model's health changes: one POST with a small JSON."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import httpx2
import msgspec

from edgellm.errors import ConfigError
from edgellm.meter.health import Health
from edgellm.server.served import Served

_TIMEOUT_S = 5.0
_TRIES, _PAUSE_S = 3, 2.0
_MOST_PORT = 65535


class HealthChange(msgspec.Struct, frozen=True):
    """What is posted. `state`: "ok", "degraded", "lost"."""

    model: str
    state: str
    cause: str | None
    message: str | None
    at: str  # ISO 8601, UTC


class Webhook:
    """Never in anybody's way: what can't be delivered after some tries is said and given up. Of the
    URL only the host is ever said: with many services the rest is the key.

    Raises ConfigError for what is no URL.
    """

    def __init__(self, url: str, say: Callable[[str], None], *, pause_s: float = _PAUSE_S) -> None:
        self._url, self._say, self._pause_s = _parsed(url), say, pause_s
        self._posts: set[asyncio.Task[None]] = set()  # or they might be collected midway

    def tell(self, served: Served, health: Health) -> None:
        """Returns at once. To be called within the event loop."""
        finding = health.finding
        change = HealthChange(
            served.name,
            health.state,
            finding.cause if finding else None,
            finding.message if finding else None,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        post = asyncio.create_task(self._post(msgspec.json.encode(change)))
        self._posts.add(post)
        post.add_done_callback(self._posts.discard)

    async def _post(self, body: bytes) -> None:
        trouble = ""
        async with httpx2.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as http:
            for i in range(_TRIES):
                await asyncio.sleep(i * self._pause_s)
                try:
                    headers = {"content-type": "application/json"}
                    answer = await http.post(self._url, content=body, headers=headers)
                except httpx2.HTTPError as error:
                    trouble = str(error) or type(error).__name__
                else:
                    if answer.is_success:
                        return
                    trouble = f"it answered {answer.status_code}"
        self._say(f"health_webhook at {self._url.netloc.decode()} could not be told: {trouble}")


def _parsed(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise ConfigError(f"health_webhook is no URL: {error}") from error
    if not url.host or (url.port or 0) > _MOST_PORT:
        raise ConfigError(f"health_webhook is no URL: {url.netloc.decode()!r} is no host")
    return url
