"""The route table. OpenAI's routes answer with and without /v1, as llama-server's do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from edgellm.server.anthropic.errors import MANNER as ANTHROPIC
from edgellm.server.door.bodies import Bodies
from edgellm.server.door.gate import Gate
from edgellm.server.door.terms import Terms
from edgellm.server.envelope import HTTPProblem
from edgellm.server.gateway import Gateway, check_quota, gateway_of
from edgellm.server.guard import Guard
from edgellm.server.manners import USUAL, Manner, error_of
from edgellm.server.ollama.wire import MANNER as OLLAMA
from edgellm.server.responses.store import Store
from edgellm.server.routes import (
    about,
    anthropic,
    audio,
    embeddings,
    lm_studio,
    lora,
    ollama,
    ollama_embed,
    ollama_models,
    props,
    responses,
    stored,
    text,
    words,
)
from edgellm.server.routes.background import Background
from edgellm.server.routes.completion import completion
from edgellm.server.routes.infill import infill
from edgellm.server.routes.models import list_models, show_model
from edgellm.server.routes.reach import Reach
from edgellm.server.routes.rerank import rerank
from edgellm.server.routes.steps import show_steps
from edgellm.server.routes.usage import show_usage
from edgellm.server.served import Models
from edgellm.server.watch.books import Books
from edgellm.server.watch.gauges import Gauges
from edgellm.server.watch.live import Live, Watched
from edgellm.server.watch.metrics import Metrics

_OPENAI = (
    ("/chat/completions", text.chat, "POST"),
    ("/chat/completions/input_tokens", words.count_chat, "POST"),
    ("/messages", anthropic.messages, "POST"),
    ("/messages/count_tokens", anthropic.count_tokens, "POST"),
    ("/responses", responses.respond, "POST"),
    ("/responses/input_tokens", responses.count_input, "POST"),
    ("/responses/compact", stored.refuse, "POST"),
    ("/responses/{id}", stored.show, "GET"),
    ("/responses/{id}", stored.delete, "DELETE"),
    ("/responses/{id}/input_items", stored.list_input, "GET"),
    ("/responses/{id}/cancel", stored.cancel, "POST"),
    ("/conversations", stored.refuse, "POST"),
    ("/audio/transcriptions", audio.transcribe, "POST"),
    ("/audio/translations", stored.refuse, "POST"),
    ("/embeddings", embeddings.embeddings, "POST"),
    ("/load_lora_adapter", lora.load_adapter, "POST"),
    ("/unload_lora_adapter", lora.unload_adapter, "POST"),
    ("/rerank", rerank, "POST"),
    ("/reranking", rerank, "POST"),
    ("/models", list_models, "GET"),
    ("/models/{name:path}", show_model, "GET"),
    ("/health", about.health, "GET"),
)
# Without /v1 these are llama-server's own, as they are there.
_OPENAI_ALONE = (("/completions", text.completions, "POST"),)
_NATIVE = (
    ("/", about.root, "GET"),
    ("/metrics", about.show_metrics, "GET"),
    ("/embedding", embeddings.native_embeddings, "POST"),
    ("/v2/rerank", rerank, "POST"),
    ("/props", props.show_props, "GET"),
    ("/slots", props.show_slots, "GET"),
    ("/tokenize", words.tokenize, "POST"),
    ("/detokenize", words.detokenize, "POST"),
    ("/apply-template", words.apply_template, "POST"),
    ("/completion", completion, "POST"),
    ("/completions", completion, "POST"),
    ("/infill", infill, "POST"),
    ("/lora-adapters", lora.list_adapters, "GET"),
    ("/lora-adapters", lora.give_scales, "POST"),
    ("/edgellm/status", about.show_status, "GET"),
    ("/edgellm/steps", show_steps, "GET"),
    ("/edgellm/usage", show_usage, "GET"),
    ("/edgellm/shutdown", about.shutdown, "POST"),
)
_OLLAMA = (
    ("/version", ollama_models.version, "GET"),
    ("/tags", ollama_models.tags, "GET"),
    ("/ps", ollama_models.ps, "GET"),
    ("/show", ollama_models.show, "POST"),
    ("/chat", ollama.chat, "POST"),
    ("/generate", ollama.generate, "POST"),
    ("/embed", ollama_embed.embed, "POST"),
    ("/embeddings", ollama_embed.embeddings, "POST"),
    ("/pull", ollama_models.pull, "POST"),
    ("/push", ollama_models.refuse, "POST"),
    ("/create", ollama_models.refuse, "POST"),
    ("/copy", ollama_models.refuse, "POST"),
    ("/delete", ollama_models.delete, "DELETE"),
    ("/blobs/{digest}", ollama_models.refuse, "HEAD"),
    ("/blobs/{digest}", ollama_models.refuse, "POST"),
)
_LM_STUDIO = (
    ("/models", lm_studio.list_models, "GET"),
    ("/models/{name:path}", lm_studio.show_model, "GET"),
    ("/chat/completions", text.chat, "POST"),
    ("/completions", text.completions, "POST"),
    ("/embeddings", embeddings.embeddings, "POST"),
)


# These have a model compute: a key that has nothing left is told so before its body is read. Of
# Ollama's the body says whether they do, or only have it come or go.
_COMPUTING = frozenset({
    text.chat, text.completions, completion, infill, anthropic.messages, responses.respond,
    audio.transcribe, rerank, embeddings.embeddings, embeddings.native_embeddings,
})  # fmt: skip


class _Endpoint:
    """A handler as ASGI, with nothing between what it sends and the guard."""

    def __init__(self, handler: Callable[[Request], Awaitable[ASGIApp]]) -> None:
        self._handler, self._computes = handler, handler in _COMPUTING

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        if self._computes:
            check_quota(request)
        response = await self._handler(request)
        await response(scope, receive, send)


_ROUTES = tuple(
    Route(root + path, _Endpoint(handler), methods=[verb])
    for root, rows in (
        ("/v1", _OPENAI + _OPENAI_ALONE),
        ("/api/v0", _LM_STUDIO),
        ("/api", _OLLAMA),
        ("", _OPENAI + _NATIVE),
    )
    for path, handler, verb in rows
)
_PATHS = frozenset(route.path for route in _ROUTES)
# Whose errors are told under a path, whether or not a route is there. The first root counts.
_MANNERS: Mapping[str, Manner] = {
    "/v1/messages": ANTHROPIC, "/messages": ANTHROPIC, "/api/v0": USUAL, "/api": OLLAMA,
}  # fmt: skip

_MAX_ECHO = 200  # characters of a path that an error repeats
_USUAL_TERMS, _UNWATCHED, _NOWHERE = Terms(), Watched(), Reach()


def create_app(
    models: Models,
    *,
    terms: Terms = _USUAL_TERMS,
    watched: Watched = _UNWATCHED,
    reach: Reach = _NOWHERE,
) -> Starlette:
    """`models` may change while it serves; what is `watched` is asked for each status."""
    access, patience = terms.access, terms.patience
    gate = Gate(terms.ceilings, watched.samples, watched.hardware, tell=terms.on_held)
    metrics, store = Metrics(), Store(terms.responses_bytes)
    background = Background(store, metrics.refused)
    live = Live(models, watched, held_up=lambda: gate.reason, responses=background.status)
    books = Books(
        access.keys, terms.diary, tariff=watched.tariff, machine_j=live.machine_j,
        tell=terms.on_trouble,
    )  # fmt: skip
    bodies = Bodies(access.all_bodies_bytes)
    Gauges(live.status, metrics.registry, bodies)
    app = Starlette(routes=_ROUTES, lifespan=_keep_ticking)
    known = _Known(app.router)
    guard = Guard(known, access, patience, bodies, metrics.refused, manner_at, books.rate)
    app.middleware_stack = _Slashless(guard)  # and none of Starlette's: a token would pass them
    app.state.gateway = Gateway(models, metrics, live, gate, books, access, patience)
    app.state.reach, app.state.store, app.state.background = reach, store, background
    return app


class _Slashless:
    """Drops the slashes at a path's end. Starlette would redirect, which some clients don't follow,
    and which leads past a proxy, whose scheme and path aren't known here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)


def manner_at(path: str) -> Manner:
    """That of the dialect at this path, or above it."""
    found = (m for root, m in _MANNERS.items() if path == root or path.startswith(f"{root}/"))
    return next(found, USUAL)


class _Known:
    """The routes, and our words for what is none."""

    def __init__(self, routes: ASGIApp) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._routes(scope, receive, send)
        except HTTPException as error:
            await _unknown_route(Request(scope), error)(scope, receive, send)


def _unknown_route(request: Request, error: HTTPException) -> Response:
    path = request.url.path
    words = _not_there(path) if error.status_code == 404 else "does not take this method"
    problem = HTTPProblem(error.status_code, f"{path[:_MAX_ECHO]} {words}")
    gateway_of(request).metrics.refused(problem)
    body = error_of(request.scope, problem)
    return Response(body, error.status_code, error.headers, media_type="application/json")


def _not_there(path: str) -> str:
    """Names the route that its end is: a client's base URL often has a "/v1" too much."""
    steps = [step for step in path[:_MAX_ECHO].split("/") if step]
    ends = ("/" + "/".join(steps[i:]) for i in range(len(steps)))
    meant = next((end for end in ends if end in _PATHS), None)
    return f"is not served here, but {meant} is" if meant else "is not served here"


@contextlib.asynccontextmanager
async def _keep_ticking(app: Starlette) -> AsyncIterator[None]:
    """Takes the readings that tok/s is the difference of; at the end stops what still runs in the
    background."""
    gateway: Gateway = app.state.gateway
    background: Background = app.state.background

    async def tick() -> None:
        while True:
            gateway.live.tick()
            gateway.gate.tick()
            gateway.books.tick()
            await asyncio.sleep(1.0)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        await background.stop()
        await gateway.books.close()
