"""Our own routes, and llama-server's that tools look for: health, status, shutdown."""

import ipaddress

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import edgellm
from edgellm import status
from edgellm.server.envelope import Envelope, ErrorBody, HTTPProblem
from edgellm.server.gateway import (
    Gateway,
    check_admin,
    gateway_of,
    json_response,
    key_of,
    models_of,
)
from edgellm.server.guard import by_unix_socket

OLLAMA_PORT = 11434
# One that is loaded when it is asked for answers, too, if not at once.
_WOULD_ANSWER = frozenset({"ready", "sleeping", "waking"})
_PROXYS_WORDS = frozenset({"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"})


class Word(msgspec.Struct):
    status: str


async def root(request: Request) -> Response:
    """On Ollama's own port its clients ask, and some look for these very words."""
    if request.url.port == OLLAMA_PORT:
        return PlainTextResponse("Ollama is running")
    names = ", ".join(served.name for served in models_of(request)) or "no model yet"
    return PlainTextResponse(
        f"edgellm {edgellm.__version__} serves {names}\n"
        "OpenAI's and Anthropic's APIs are under /v1, Ollama's under /api, the live state at "
        "/edgellm/status, counters at /metrics\n"
    )


async def health(request: Request) -> Response:
    """200 only when a request would be answered; else a 503, as llama-server's while it loads."""
    if reason := _why_not_ready(gateway_of(request)):
        body = Envelope(ErrorBody(reason, "unavailable_error", code=503))
        return json_response(body, 503)
    return json_response(Word("ok"))


async def show_status(request: Request) -> Response:
    gateway = gateway_of(request)
    keys = gateway.books.allowances() if key_of(request).admin else ()
    told = gateway.live.status(models_of(request), keys)
    return Response(status.encode(told), media_type="application/json")


async def show_metrics(request: Request) -> Response:
    """The metrics are of all models, so a key that has only some is refused; how much each key has
    used is for admins."""
    gateway, key = gateway_of(request), key_of(request)
    if key.models is not None and not key.admin:
        raise HTTPProblem(403, f"/metrics tells of all models, and the key {key.name} has some")
    text = generate_latest(gateway.metrics.registry)
    if key.admin:
        text += generate_latest(gateway.books.shares)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


async def shutdown(request: Request) -> Response:
    """An admin's key may. Without any keys only this machine may, even with `--insecure`."""
    gateway = gateway_of(request)
    if not (gateway.access.keys or _comes_from_here(request)):
        raise HTTPProblem(403, "without an API key, only its own machine may stop this server")
    check_admin(request)
    gateway.stopping.set()
    return json_response(Word("stopping"), 202)


def _comes_from_here(request: Request) -> bool:
    """A proxy on this machine speaks for others: its headers show it."""
    if not _PROXYS_WORDS.isdisjoint(request.headers):
        return False
    if by_unix_socket(request.scope):
        return True
    peer = request.client
    return peer is not None and ipaddress.ip_address(peer.host).is_loopback


def _why_not_ready(gateway: Gateway) -> str | None:
    if gateway.stopping.is_set():
        return "Shutting down"
    states = {served.engine.state for served in gateway.models}
    if states and states <= _WOULD_ANSWER:
        return None
    return "Model failed" if "failed" in states else "Loading model"
