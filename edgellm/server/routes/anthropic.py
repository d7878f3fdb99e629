"""Anthropic's Messages API: an answer to a conversation, and what that takes in tokens."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from edgellm.server.anthropic.answers import MessageFold, MessageStream
from edgellm.server.anthropic.requests import count_request, message_request
from edgellm.server.body import Bytes
from edgellm.server.gateway import body_of, gateway_of, hold_of, json_response
from edgellm.server.routes.reach import reach_of
from edgellm.server.routes.text import (
    chat_answers,
    frames,
    new_head,
    new_picture_mark,
    prompt_length,
    prompt_tokens,
    turn_answers,
    turned,
)
from edgellm.server.sse import EventStream, WholeAnswer


class InputTokens(msgspec.Struct):
    input_tokens: int


async def messages(request: Request) -> ASGIApp:
    """A stream begins with the prompt's length: so there it is tokenized first, and once."""
    asked = message_request(await _body(request), new_picture_mark())
    chat = asked.chat
    served = gateway_of(request).models.generative(chat.model)
    head = new_head("msg_", served, chat.model)
    if not chat.stream:
        answers = await chat_answers(request, served, chat)
        return WholeAnswer(frames(answers, MessageFold(head, asked)))
    ours = await turned(served, chat)
    tokens = None if chat.params.pictures else await prompt_tokens(served, ours)
    answers = turn_answers(request, served, chat, ours, tokens)
    stream = MessageStream(head, asked, len(tokens) if tokens else 0)
    return EventStream(frames(answers, stream))


async def count_tokens(request: Request) -> Response:
    """The body is a message's."""
    chat = count_request(await _body(request), new_picture_mark())
    served = gateway_of(request).models.generative(chat.model)
    return json_response(InputTokens(await prompt_length(served, chat)))


async def _body(request: Request) -> Bytes:
    return await reach_of(request).image_hosts.inlined(await body_of(request), hold_of(request))
