"""Responses that are kept, or still written in the background: shown, cancelled, deleted."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from edgellm.errors import BadRequest
from edgellm.server.envelope import HTTPProblem
from edgellm.server.gateway import json_response, key_of
from edgellm.server.responses.earlier import conversation, given
from edgellm.server.responses.listing import page, shown_items
from edgellm.server.responses.store import SHOWN, Kept, Store
from edgellm.server.routes.background import Background
from edgellm.server.sse import Frames, StreamedAnswer

_NO = ("", "false", "0")
_INSTEAD = {  # by the path's last step
    "compact": 'with truncation: "auto" a response goes on without the oldest turns; or have the '
    "model sum the conversation up, and begin anew with that as input",
    "conversations": "a conversation is its responses: name the one that goes before as "
    "previous_response_id",
    "translations": "/v1/audio/transcriptions does what its prompt says: Translate the recording "
    "into English",
}


class Deleted(msgspec.Struct):
    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


async def show(request: Request) -> ASGIApp:
    """`?stream=true&starting_after=N`: the frames behind that one, of a response of the background
    that was asked for as a stream."""
    id, query = request.path_params["id"], request.query_params
    kept = _found(request)
    if query.get("stream", "").lower() in _NO:
        return _whole(kept)
    if not kept.frames:
        raise BadRequest(
            "stream: only a response that was asked for with background and stream is streamed "
            "again, as long as its events are kept",
            hint="ask for it as it is",
            param="stream",
        )
    n_read = 1 + _whole_number(query, "starting_after", -1, range(-1, 2**31))
    running = background_of(request).find(id, kept.owner)
    return StreamedAnswer(running.follow(n_read) if running else _again(kept.frames[n_read:]))


async def cancel(request: Request) -> Response:
    """Of one that has ended nothing changes, as OpenAI has it."""
    id, kept, background = request.path_params["id"], _found(request), background_of(request)
    if not kept.is_background:
        words = "Cannot cancel a synchronous response"
        raise BadRequest(words, hint="close its connection, and it ends")
    if (running := background.find(id, kept.owner)) is None:
        return _whole(kept)
    await background.cancel(id)
    return _whole(running.kept())


async def delete(request: Request) -> Response:
    """One that is still written is cancelled first."""
    _found(request)
    id = request.path_params["id"]
    await background_of(request).cancel(id)
    store_of(request).remove(id, key_of(request).name)
    return json_response(Deleted(id))


async def list_input(request: Request) -> Response:
    """All that the model was shown as input, earlier responses' too, as OpenAI lists it."""
    id, query, kept = request.path_params["id"], request.query_params, _found(request)
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadRequest(f"order: {order[:40]!r} is none of asc, desc", param="order")
    limit = _whole_number(query, "limit", 20, range(1, 101))
    before, _ = conversation(kept.previous_id, store_of(request), kept.owner)
    items = shown_items([*before, *given(kept)], id)
    if order == "desc":
        items.reverse()
    return json_response(page(items, query.get("after"), limit))


async def refuse(request: Request) -> Response:
    """Raises HTTPProblem, always, with what does the same. A 404: OpenAI's clients send again what
    is answered by 501."""
    path = request.url.path
    instead = _INSTEAD[path.rpartition("/")[2]]
    raise HTTPProblem(404, f"{path} is not served here; {instead}", code="not_served")


def store_of(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def background_of(request: Request) -> Background:
    background: Background = request.app.state.background
    return background


def _found(request: Request) -> Kept:
    """Raises HTTPProblem, also for another key's: nobody learns that there is one."""
    id, owner = request.path_params["id"], key_of(request).name
    running = background_of(request).find(id, owner)
    kept = running.kept() if running else store_of(request).find(id, owner)
    if kept is None:
        words = f"Response with id {id[:SHOWN]!r} not found"
        raise HTTPProblem(404, words, code="response_not_found")
    return kept


def _whole(kept: Kept) -> Response:
    return Response(kept.told, media_type="application/json")


async def _again(several: Sequence[bytes]) -> Frames:
    for frame in several:
        yield frame


def _whole_number(query: Mapping[str, str], name: str, usual: int, allowed: range) -> int:
    text = query.get(name)
    if text is None:
        return usual
    if not (re.fullmatch(r"[0-9]{1,9}", text) and int(text) in allowed):
        first = max(allowed.start, 0)
        words = f"{name}: {text[:40]!r} is not a whole number from {first} to {allowed.stop - 1}"
        raise BadRequest(words, param=name)
    return int(text)
