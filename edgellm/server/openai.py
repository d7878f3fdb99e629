"""OpenAI's routes for text: a request in, the engine asked, its events out in OpenAI's words."""

import asyncio
from contextlib import aclosing
from datetime import datetime

from starlette.requests import Request
from starlette.types import ASGIApp

from edgellm.chat.messages import CompletionRequest, GenerateParams
from edgellm.chat.turn import turn
from edgellm.server.answers import Answers, Prompts, answer
from edgellm.server.claims import claimed
from edgellm.server.gateway import Gateway, gateway_of, new_head
from edgellm.server.hearing import heard
from edgellm.server.openai_chat import ChatFold, ChatStream
from edgellm.server.openai_completions import CompletionFold, CompletionStream
from edgellm.server.openai_requests import chat_request, completion_request
from edgellm.server.openai_wire import Dialect
from edgellm.server.served import Served
from edgellm.server.sse import EventStream, Frames, WholeAnswer


async def chat(request: Request) -> ASGIApp:
    gateway, asked = gateway_of(request), chat_request(await request.body())
    served = gateway.models.generative(asked.model)
    if asked.params.pictures:
        served.check_sees()
    # A stranger's template may take its time: not on the loop that carries everybody's tokens.
    ours = await asyncio.to_thread(turn, served.template, asked, datetime.now())
    fields = ("messages", ours.structure_field)
    params = claimed(request, gateway.access, ours.params)
    answers = _answer(gateway, served, (ours.prompt,), params, *fields)
    if ours.listen:
        answers = heard(answers, ours.listen)
    head, n = new_head("chatcmpl-", served), asked.params.n
    if asked.stream:
        stream = ChatStream(head, n=n, include_usage=asked.include_usage)
        return EventStream(_frames(answers, stream))
    return WholeAnswer(_frames(answers, ChatFold(head, n=n)))


async def completions(request: Request) -> ASGIApp:
    gateway, asked = gateway_of(request), completion_request(await request.body())
    served = gateway.models.generative(asked.model)
    fields = ("prompt", asked.structure_field)
    params = claimed(request, gateway.access, asked.params)
    answers = _answer(gateway, served, asked.prompts, params, *fields)
    head, n, echoes = new_head("cmpl-", served), asked.params.n, _echoes(asked)
    if asked.stream:
        stream = CompletionStream(head, n=n, echoes=echoes, include_usage=asked.include_usage)
        return EventStream(_frames(answers, stream))
    return WholeAnswer(_frames(answers, CompletionFold(head, n=n, echoes=echoes)))


def _answer(
    gateway: Gateway,
    served: Served,
    prompts: Prompts,
    params: GenerateParams,
    text_field: str,
    structure_field: str,
) -> Answers:
    return answer(
        served,
        prompts,
        params,
        gateway.metrics,
        text_field,
        structure_field=structure_field,
        enter=gateway.gate.enter,
        priced=gateway.live.priced,
    )


def _echoes(asked: CompletionRequest) -> list[str]:
    """What stands before each prompt's answers: the prompt itself, or nothing."""
    return [prompt if asked.echo and isinstance(prompt, str) else "" for prompt in asked.prompts]


async def _frames(answers: Answers, dialect: Dialect) -> Frames:
    async with aclosing(answers):
        async for index, event in answers:
            if data := dialect.feed(index, event):
                yield data
