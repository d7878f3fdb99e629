"""OpenAI's chats and completions; and the steps of them that the other dialects' routes share."""

import asyncio
import secrets
import time
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

from starlette.requests import Request
from starlette.types import ASGIApp

from edgellm.chat.messages import ChatRequest, CompletionRequest
from edgellm.chat.turn import Turn, turn
from edgellm.errors import BadRequest
from edgellm.server.answers import Answers, Asked, answer
from edgellm.server.body import Bytes
from edgellm.server.claims import claimed
from edgellm.server.envelope import text_is_called
from edgellm.server.gateway import body_of, counter_of, gateway_of, hold_of, key_of, models_of
from edgellm.server.hearing import heard
from edgellm.server.openai.chat import ChatFold, ChatStream
from edgellm.server.openai.completions import CompletionFold, CompletionStream
from edgellm.server.openai.filling import filled
from edgellm.server.openai.requests import chat_request, completion_request
from edgellm.server.openai.wire import Dialect, Head
from edgellm.server.routes.lora import as_served
from edgellm.server.routes.reach import reach_of
from edgellm.server.served import Served
from edgellm.server.sse import Frames, StreamedAnswer, WholeAnswer


async def chat(request: Request) -> ASGIApp:
    body = await chat_body(request)
    asked = chat_request(body, new_picture_mark())
    del body
    served = models_of(request).generative(asked.model)
    answers = await chat_answers(request, served, asked)
    head, n = new_head("chatcmpl-", served, asked.model), asked.params.n
    if asked.stream:
        stream = ChatStream(head, n=n, include_usage=asked.include_usage)
        return StreamedAnswer(frames(answers, stream))
    return WholeAnswer(frames(answers, ChatFold(head, n=n)))


async def chat_body(request: Request) -> Bytes:
    """The body, with pictures from allowed hosts put in. Raises BadRequest, HTTPProblem."""
    body, hold = await body_of(request), hold_of(request)
    check_model = models_of(request).generative
    return await reach_of(request).image_hosts.inlined(body, hold, check_model)


async def chat_answers(
    request: Request, served: Served, asked: ChatRequest, text_field: str = "messages"
) -> Answers:
    """Text, thoughts and calls, for every dialect's chats. `text_field`: what the client calls the
    conversation. Raises BadRequest."""
    ours = await turned(served, asked, text_field)
    return turn_answers(request, served, asked, ours, text_field=text_field)


async def turned(
    served: Served, asked: ChatRequest, text_field: str = "messages", *, goes_on: bool = False
) -> Turn:
    """`goes_on`: it follows turns that the client brings as tokens. Raises BadRequest."""
    if not goes_on:
        asked = replace(asked, messages=served.defaults.introduced(asked.messages))
    with text_is_called(text_field):
        if asked.params.pictures:
            served.check_takes(asked.params.pictures.modalities)
        # A stranger's template may take its time: not on the loop that carries everybody's tokens.
        return await asyncio.to_thread(turn, served.template, asked, datetime.now())


async def prompt_length(served: Served, asked: ChatRequest, text_field: str = "messages") -> int:
    """In tokens, tools included. Nothing is computed. Raises BadRequest."""
    if asked.params.pictures:
        words = f"{text_field}: pictures and sounds become tokens only when they are seen or heard"
        raise BadRequest(words, param=text_field)
    ours = await turned(served, asked, text_field)
    return len(await prompt_tokens(served, ours, text_field))


async def prompt_tokens(
    served: Served, ours: Turn, text_field: str = "messages"
) -> tuple[int, ...]:
    with text_is_called(text_field):
        return tuple((await served.engine.tokenize(ours.prompt, True)).tokens)


def turn_answers(
    request: Request,
    served: Served,
    asked: ChatRequest,
    ours: Turn,
    tokens: tuple[int, ...] | None = None,
    text_field: str = "messages",
) -> Answers:
    """`tokens`: the prompt's, if they are known already. Raises BadRequest."""
    return taken_apart(turn_written(request, served, asked, ours, tokens, text_field), ours)


def taken_apart(written: Answers, ours: Turn) -> Answers:
    return heard(written, ours.listen) if ours.listen else written


def turn_written(
    request: Request,
    served: Served,
    asked: ChatRequest,
    ours: Turn,
    tokens: tuple[int, ...] | None,
    text_field: str,
) -> Answers:
    """The answer as the model writes it: thoughts and calls are text, with all their marks."""
    params = as_served(ours.params, served, asked.lora, asked.model)
    prompt = ours.prompt if tokens is None else tokens
    wanted = Asked((prompt,), params, text_field, ours.structure_field)
    return answer_to(request, served, wanted)


async def completions(request: Request) -> ASGIApp:
    asked = completion_request(await body_of(request))
    served = models_of(request).generative(asked.model)
    params = as_served(asked.params, served, asked.lora, asked.model)
    wanted = Asked(await filled(served, asked), params, "prompt", asked.structure_field)
    answers = answer_to(request, served, wanted)
    head, n, echoes = new_head("cmpl-", served, asked.model), asked.params.n, _echoes(asked)
    if asked.stream:
        stream = CompletionStream(head, n=n, echoes=echoes, include_usage=asked.include_usage)
        return StreamedAnswer(frames(answers, stream))
    return WholeAnswer(frames(answers, CompletionFold(head, n=n, echoes=echoes)))


def answer_to(request: Request, served: Served, asked: Asked) -> Answers:
    """With the deadline and the key's share that the request's headers say. Raises BadRequest."""
    key = key_of(request)
    queue_ratio = gateway_of(request).access.queue_ratio(key)
    params = claimed(request.headers, key, queue_ratio, asked.params)
    return answer(served, replace(asked, params=params), counter_of(request))


def new_head(prefix: str, served: Served, asked_for: str = "") -> Head:
    """`asked_for`: the name that the client used, which may be an adapter's."""
    adapter = served.engine.adapters.find(asked_for) if asked_for else None
    name = adapter.name if adapter else served.name
    return Head(f"{prefix}{secrets.token_hex(12)}", int(time.time()), name)


def new_picture_mark() -> str:
    return f"__picture_{secrets.token_hex(16)}__"


def _echoes(asked: CompletionRequest) -> list[str]:
    """What stands before each prompt's answers: the prompt itself, or nothing."""
    return [prompt if asked.echo and isinstance(prompt, str) else "" for prompt in asked.prompts]


async def frames(answers: Answers, dialect: Dialect) -> Frames:
    async with aclosing(answers):
        async for index, event in answers:
            if data := dialect.feed(index, event):
                yield data
