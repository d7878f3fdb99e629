"""OpenAI's Responses API: a turn of an agent, and what its conversation takes in tokens."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from edgellm.server.gateway import gateway_of, json_response
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
        return StreamedAnswer(
            frames(answers, stream),
            broken=stream.broken,
            waiting=stream.waiting,
            is_told_inside=is_full,
        )
    return WholeAnswer(frames(answers, ResponseFold(head, asked, keep)))


async def count_input(request: Request) -> Response:
    """The body is a response's."""
    asked = await _asked(request)
    served = gateway_of(request).models.generative(asked.chat.model)
    return json_response(InputTokens(await prompt_length(served, asked.chat, _TEXT)))


async def _asked(request: Request) -> AskedResponse:
    return response_request(await chat_body(request), new_picture_mark(), _recall_of(request))


def _recall_of(request: Request) -> Recall:
    recall: Recall = request.app.state.recall
    return recall
