"""GET /edgellm/usage: who has used what, by day. docs/keys.md has the fields."""

import asyncio
from datetime import date

from starlette.requests import Request
from starlette.responses import Response

from edgellm.errors import BadRequest
from edgellm.server.gateway import gateway_of, json_response, key_of

_FIRST, _LAST = "0001-01-01", "9999-12-31"


async def show_usage(request: Request) -> Response:
    """`?since=2026-11-01&until=2026-11-30`, both days in it. A key that isn't an admin's sees its
    own."""
    since, until = _day(request, "since", _FIRST), _day(request, "until", _LAST)
    if since > until:
        raise BadRequest(f"{since} is after {until}", hint="since is the first day", param="since")
    report = await gateway_of(request).books.report(since, until, key_of(request))
    return await asyncio.to_thread(json_response, report)


def _day(request: Request, name: str, otherwise: str) -> str:
    """Raises BadRequest."""
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        words = f"{name}={text[:40]!r} is no day"
        raise BadRequest(words, hint="write it like 2026-11-01", param=name) from error
