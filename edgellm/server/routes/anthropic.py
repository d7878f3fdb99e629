"""Anthropic's Messages API: an answer to a conversation, and what that takes in tokens."""

from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from edgellm.server.anthropic.answers import MessageFold, MessageStream
from edgellm.server.anthropic.requests import AskedMessage, count_request, message_request
from edgellm.server.gateway import json_response, models_of
from edgellm.server.openai.wire import Head
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
from edgellm.server.sse import Frames, StreamedAnswer, WholeAnswer


class InputTokens(msgspec.Struct):
    input_tokens: int


async def messages(request: Request) -> ASGIApp:
    asked = message_request(await chat_body(request), new_picture_mark())
    chat = asked.chat
    served = models_of(request).generative(chat.model)
    head = new_head("msg_", served, chat.model)
    if chat.stream:
        return StreamedAnswer(_streamed(request, served, asked, head))
    answers = await chat_answers(request, served, chat)
    return WholeAnswer(frames(answers, MessageFold(head, asked)))


async def _streamed(request: Request, served: Served, asked: AskedMessage, head: Head) -> Frames:
    """It begins with the prompt's length: so that is tokenized first, and once. A model that still
    loads is waited for in here, where a client is told to wait, and is missed when it leaves."""
    chat = asked.chat
    ours = await turned(served, chat)
    tokens = None if chat.params.pictures else await prompt_tokens(served, ours)
    answers = turn_answers(request, served, chat, ours, tokens)
    stream = MessageStream(head, asked, len(tokens) if tokens else 0)
    async with aclosing(frames(answers, stream)) as told:
        async for data in told:
            yield data


async def count_tokens(request: Request) -> Response:
    """The body is a message's."""
    chat = count_request(await chat_body(request), new_picture_mark())
    served = models_of(request).generative(chat.model)
    return json_response(InputTokens(await prompt_length(served, chat)))
