"""OpenAI's Responses API: a turn of an agent, and what its conversation takes in tokens."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edgellm.server.gateway import gateway_of, hold_of, json_response
from edgellm.server.responses.answers import ResponseFold, ResponseStream, forget, is_full
from edgellm.server.responses.recall import Recall
from edgellm.server.responses.requests import AskedResponse, response_request
from edgellm.server.routes.text import (
    chat_answers,
    chat_body,
    frames,
    new_head,
    new_picture_mark,
    prompt_length,
)
from edgellm.server.sse import StreamedAnswer, WholeAnswer

_TEXT = "input"


class InputTokens(msgspec.Struct):
    input_tokens: int
    object: str = "response.input_tokens"


async def respond(request: Request) -> ASGIApp:
    asked = await _asked(request)
    served = gateway_of(request).models.generative(asked.chat.model)
    answers = await chat_answers(request, served, asked.chat, _TEXT)
    head = new_head("resp_", served, asked.chat.model)
    keep = _recall_of(request).keep if asked.stores else forget
    if asked.chat.stream:
        stream = ResponseStream(head, asked, keep)
        streamed = StreamedAnswer(
            frames(answers, stream),
            broken=stream.broken,
            waiting=stream.waiting,
            is_told_inside=is_full,
        )
        return _Left(streamed, stream)
    return WholeAnswer(frames(answers, ResponseFold(head, asked, keep)))


class _Left:
    """A stream that knows when its client hears no more of it, however that came."""

    def __init__(self, app: ASGIApp, stream: ResponseStream) -> None:
        self._app, self._stream = app, stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            self._stream.leave()


async def count_input(request: Request) -> Response:
    """The body is a response's."""
    asked = await _asked(request)
    served = gateway_of(request).models.generative(asked.chat.model)
    return json_response(InputTokens(await prompt_length(served, asked.chat, _TEXT)))


async def _asked(request: Request) -> AskedResponse:
    body = await chat_body(request)
    asked = response_request(body, new_picture_mark(), _recall_of(request))
    hold_of(request).add(asked.n_recalled_bytes)
    return asked


def _recall_of(request: Request) -> Recall:
    recall: Recall = request.app.state.recall
    return recall
