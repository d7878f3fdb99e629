"""Ollama's routes about models: which there are, what each is, and those that are refused."""

import shlex
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

import edgellm
from edgellm.errors import BadRequest, DoesNotFit, ModelNotFound
from edgellm.server.gateway import body_of, check_admin, json_response, models_of
from edgellm.server.ollama import pulls
from edgellm.server.ollama.cards import Cards, card, loaded, not_found
from edgellm.server.ollama.cards import shown as shown_card
from edgellm.server.ollama.refusals import NameBody, read_name, refused
from edgellm.server.routes.reach import Pulling, reach_of
from edgellm.server.served import Served, untagged
from edgellm.server.sse import StreamedAnswer, WholeAnswer

API_VERSION = "0.34.0"  # of Ollama, whose API this is: clients ask for one that is new enough


class Version(msgspec.Struct):
    version: str
    edgellm: str


def generative(request: Request, name: str) -> Served:
    """Raises ModelNotFound in Ollama's words, BadRequest for a model of another kind."""
    return _found(models_of(request).generative, name)


def embedding(request: Request, name: str) -> Served:
    """The same for one that makes vectors."""
    return _found(models_of(request).embedding, name)


def any_model(request: Request, name: str) -> Served:
    """The same for one of any kind."""
    return _found(models_of(request).any, name)


def _found(find: Callable[[str], Served], name: str) -> Served:
    try:
        return find(untagged(name))
    except ModelNotFound as error:
        raise (not_found(name, error) if name else error) from error


async def until_ready(served: Served, keep_s: float | None = None) -> None:
    """Whoever asks a model that still loads waits for it, and may say how long it idles from then
    on. Raises NotServing, WorkerDied."""
    if served.engine.state != "ready":
        await served.engine.tokenize("", False)
    served.keep(keep_s)


async def version(request: Request) -> Response:
    return json_response(Version(API_VERSION, edgellm.__version__))


async def tags(request: Request) -> Response:
    models = models_of(request)
    return json_response(Cards([card(one, name) for one in models for name in one.names]))


async def ps(request: Request) -> Response:
    models = models_of(request)
    there, now_ns = [one for one in models if one.engine.state == "ready"], time.time_ns()
    return json_response(Cards([loaded(one, now_ns) for one in there]))


async def show(request: Request) -> Response:
    name = read_name(await body_of(request)).asked
    return json_response(shown_card(any_model(request, name), name))


async def pull(request: Request) -> ASGIApp:
    """Of a model that is served there is nothing left to do, as clients ask before they begin."""
    body = read_name(await body_of(request))
    pulling, streams = reach_of(request).pulling, body.stream is not False
    if body.asked and _is_served(request, body):
        kind = "application/x-ndjson" if streams else "application/json"
        return Response(pulls.success(streams=streams), media_type=kind)
    check_admin(request)
    if not body.asked or pulling is None:
        raise refused("pull", body.asked)
    lines = _pulled(request, pulling, body, streams=streams)
    return StreamedAnswer(lines) if streams else WholeAnswer(lines)


async def _pulled(
    request: Request, pulling: Pulling, body: NameBody, *, streams: bool
) -> AsyncGenerator[bytes, None]:
    """Without a line before there is something to tell, a refusal has a status of its own."""
    is_begun = False
    async with aclosing(pulling.pull(body.asked)) as steps:
        async for done_bytes, total_bytes in steps:
            if streams and not is_begun:
                is_begun = True
                yield pulls.begun()
            if streams:
                yield pulls.step(body.asked, done_bytes, total_bytes)
    if not _is_served(request, body):
        raise DoesNotFit(
            f"{body.asked} is on this disk now, and can't be served here",
            hint=f"edgellm plan {shlex.quote(body.asked)} says why",
        )
    yield pulls.success(streams=streams)


def _is_served(request: Request, body: NameBody) -> bool:
    return models_of(request).knows(body.asked)


async def delete(request: Request) -> Response:
    """By its own name alone: a short form may be several models', and an alias any's."""
    check_admin(request)
    name = read_name(await body_of(request)).asked
    removing = reach_of(request).removing
    if not name or removing is None:
        raise refused("delete", name)
    served = any_model(request, name)
    if untagged(name).casefold() != served.name.casefold():
        raise BadRequest(f"{name!r} is not its whole name: {served.name}", param="model")
    if not served.may_go or served.demo:
        raise refused("delete", name)
    if served.engine.state != "sleeping":
        raise BadRequest(
            f"{served.name} is loaded, and stays", hint="have it unloaded first, by keep_alive 0"
        )
    await removing.remove(served.name)
    return Response()


async def refuse(request: Request) -> ASGIApp:
    """Raises HTTPProblem, always."""
    what = request.url.path.split("/")[2]  # "/api/blobs/sha256:…"
    has_name = what == "push"
    raise refused(what, read_name(await body_of(request)).asked if has_name else "")
