"""OpenAI's Responses API: a turn of an agent, and what its conversation takes in tokens."""

from contextlib import aclosing
from dataclasses import replace
from itertools import islice

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgellm.errors import BadRequest, EdgellmError
from edgellm.server.answers import Answers
from edgellm.server.gateway import gateway_of, hold_of, json_response, key_of, models_of
from edgellm.server.openai.wire import Head, encode
from edgellm.server.responses.answers import Keep, ResponseFold, ResponseStream, forget, is_full
from edgellm.server.responses.object import Response as Told
from edgellm.server.responses.requests import AskedResponse, response_request
from edgellm.server.responses.store import Kept, Lost
from edgellm.server.responses.truncation import prompt_room, shortened
from edgellm.server.routes.background import Running
from edgellm.server.routes.stored import background_of, store_of
from edgellm.server.routes.text import (
    chat_answers,
    chat_body,
    frames,
    new_head,
    new_picture_mark,
    prompt_length,
    prompt_tokens,
    turn_answers,
    turned,
)
from edgellm.server.served import Served
from edgellm.server.sse import StreamedAnswer, WholeAnswer

_TEXT = "input"


class InputTokens(msgspec.Struct):
    input_tokens: int
    object: str = "response.input_tokens"


async def respond(request: Request) -> ASGIApp:
    asked = await _asked(request)
    served = models_of(request).generative(asked.chat.model)
    answers = await _answers(request, served, asked)
    head = new_head("resp_", served, asked.chat.model)
    if asked.response.background:
        return _begun(request, asked, head, answers)
    keep = _keep(request, asked)
    if not asked.chat.stream:
        return WholeAnswer(frames(answers, ResponseFold(head, asked, keep)))
    stream = ResponseStream(head, asked, keep)
    streamed = StreamedAnswer(
        frames(answers, stream),
        broken=stream.broken,
        waiting=stream.waiting,
        is_told_inside=is_full,
    )
    return _Left(streamed, stream)


async def _answers(request: Request, served: Served, asked: AskedResponse) -> Answers:
    """Raises BadRequest. How long pictures are is not known before they are seen."""
    chat = asked.chat
    if asked.response.truncation == "disabled" or chat.params.pictures:
        answers = await chat_answers(request, served, chat, _TEXT)
        may_go = not chat.params.pictures and any(islice(shortened(chat.messages), 1, None))
        return _advised(answers) if may_go else answers
    room = prompt_room(served.engine.plan.n_ctx_seq, chat.params.max_tokens)
    for messages in shortened(chat.messages):
        ours = await turned(served, replace(chat, messages=messages), _TEXT)
        tokens = await prompt_tokens(served, ours, _TEXT)
        if len(tokens) <= room:
            break
    return turn_answers(request, served, chat, ours, tokens, _TEXT)


async def _advised(answers: Answers) -> Answers:
    """Whoever outgrows the context reads that it need not be an error."""
    try:
        async with aclosing(answers):
            async for told in answers:
                yield told
    except EdgellmError as error:
        if is_full(error):
            error.hint = 'with truncation: "auto" the conversation goes on without its oldest turns'
        raise


def _begun(request: Request, asked: AskedResponse, head: Head, answers: Answers) -> ASGIApp:
    """In the background. Raises Overloaded."""
    background, owner = background_of(request), key_of(request)
    background.check(owner.name, gateway_of(request).access.queue_ratio(owner))
    answer = (ResponseStream if asked.chat.stream else ResponseFold)(head, asked)
    running = Running(answer, owner.name, asked.given, hold_of(request).hand_on())
    background.begin(running, answers)
    if asked.chat.stream:
        return StreamedAnswer(running.follow(0))
    return Response(encode(answer.response), media_type="application/json")


def _keep(request: Request, asked: AskedResponse) -> Keep:
    if not asked.response.store:
        return forget
    store, owner = store_of(request), key_of(request).name

    def keep(told: Told) -> None:
        store.keep(told.id, Kept(owner, told.previous_response_id, asked.given, encode(told)))

    return keep


class _Left:
    """A stream that knows when its client has left: it has not failed then."""

    def __init__(self, app: ASGIApp, stream: ResponseStream) -> None:
        self._app, self._stream = app, stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def heeding() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._stream.leave()
            return message

        await self._app(scope, heeding, send)


async def count_input(request: Request) -> Response:
    """The body is a response's."""
    asked = await _asked(request)
    served = models_of(request).generative(asked.chat.model)
    return json_response(InputTokens(await prompt_length(served, asked.chat, _TEXT)))


async def _asked(request: Request) -> AskedResponse:
    body, owner = await chat_body(request), key_of(request).name
    try:
        asked = response_request(body, new_picture_mark(), store_of(request), owner)
    except Lost as error:
        if background_of(request).find(error.id, owner) is None:
            raise
        words = f"{error.param}: this response is being written and has not ended"
        hint = "ask for it until its status tells an end"
        raise BadRequest(words, hint=hint, param=error.param) from error
    hold_of(request).add(asked.n_recalled_bytes)
    return asked
