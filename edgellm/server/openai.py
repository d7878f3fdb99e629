"""OpenAI's routes for text: a request in, the engine asked, its events out in OpenAI's words."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime

from starlette.requests import Request
from starlette.types import ASGIApp

from edgellm.chat.messages import CompletionRequest, GenerateParams
from edgellm.chat.turn import turn
from edgellm.server.answers import Answers, Prompts, answer
from edgellm.server.claims import claimed
from edgellm.server.filling import filled
from edgellm.server.gateway import body_of, gateway_of, hold_of, new_head
from edgellm.server.hearing import heard
from edgellm.server.image_hosts import ImageHosts
from edgellm.server.lora import with_adapters
from edgellm.server.openai_chat import ChatFold, ChatStream
from edgellm.server.openai_completions import CompletionFold, CompletionStream
from edgellm.server.openai_requests import chat_request, completion_request
from edgellm.server.openai_wire import Dialect
from edgellm.server.served import Served
from edgellm.server.sse import EventStream, Frames, WholeAnswer


async def chat(request: Request) -> ASGIApp:
    hosts: ImageHosts = request.app.state.image_hosts
    asked = chat_request(await hosts.inlined(await body_of(request), hold_of(request)))
    served = gateway_of(request).models.generative(asked.model)
    if asked.params.pictures:
        served.check_sees()
    # A stranger's template may take its time: not on the loop that carries everybody's tokens.
    ours = await asyncio.to_thread(turn, served.template, asked, datetime.now())
    fields = ("messages", ours.structure_field)
    answers = answer_to(
        request, served, (ours.prompt,), ours.params, asked.lora, asked.model, *fields
    )
    if ours.listen:
        answers = heard(answers, ours.listen)
    head, n = new_head("chatcmpl-", served, asked.model), asked.params.n
    if asked.stream:
        stream = ChatStream(head, n=n, include_usage=asked.include_usage)
        return EventStream(frames(answers, stream))
    return WholeAnswer(frames(answers, ChatFold(head, n=n)))


async def completions(request: Request) -> ASGIApp:
    asked = completion_request(await body_of(request))
    served = gateway_of(request).models.generative(asked.model)
    fields = ("prompt", asked.structure_field)
    prompts = await filled(served, asked)
    answers = answer_to(request, served, prompts, asked.params, asked.lora, asked.model, *fields)
    head, n, echoes = new_head("cmpl-", served, asked.model), asked.params.n, _echoes(asked)
    if asked.stream:
        stream = CompletionStream(head, n=n, echoes=echoes, include_usage=asked.include_usage)
        return EventStream(frames(answers, stream))
    return WholeAnswer(frames(answers, CompletionFold(head, n=n, echoes=echoes)))


def answer_to(
    request: Request,
    served: Served,
    prompts: Prompts,
    params: GenerateParams,
    lora: Mapping[int, float] | None,
    model: str,
    text_field: str,
    structure_field: str,
) -> Answers:
    """As the request's headers, its adapters and the gate let it. Raises BadRequest."""
    gateway = gateway_of(request)
    params = claimed(request, gateway.access, with_adapters(params, served, lora, model))
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


async def frames(answers: Answers, dialect: Dialect) -> Frames:
    async with aclosing(answers):
        async for index, event in answers:
            if data := dialect.feed(index, event):
                yield data
