"""Ollama's routes for text: /api/chat, and /api/generate, with the chat template or without."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from edgellm.chat.events import Finished, TextDelta
from edgellm.chat.messages import ChatRequest, CompletionRequest
from edgellm.errors import EdgellmError
from edgellm.server.answers import Answers, Asked
from edgellm.server.gateway import body_of, check_quota
from edgellm.server.ollama.answers import Lines, nothing_asked
from edgellm.server.ollama.options import context_warning
from edgellm.server.ollama.refusals import refused
from edgellm.server.ollama.requests import Wish, read_chat, read_prompt
from edgellm.server.ollama.thinking import check_thinks
from edgellm.server.ollama.wire import Head
from edgellm.server.openai.filling import filled
from edgellm.server.routes.lora import as_served
from edgellm.server.routes.ollama_models import any_model, generative, until_ready
from edgellm.server.routes.text import (
    answer_to,
    chat_answers,
    frames,
    new_picture_mark,
    taken_apart,
    turn_written,
    turned,
)
from edgellm.server.routes.warned import Warned
from edgellm.server.served import Served
from edgellm.server.sse import Frames, StreamedAnswer, WholeAnswer

_TEXT = "prompt"


async def chat(request: Request) -> ASGIApp:
    begun_ns = time.time_ns()
    wanted = read_chat(await body_of(request), new_picture_mark())
    wish, asked = wanted.wish, wanted.asked
    if asked is None:
        return await _only_there(request, wish, begun_ns, is_chat=True)
    check_quota(request)
    served = generative(request, wish.name)
    check_thinks(wish.think, served.template.style, wish.name or served.name)
    lines = _lines(served, wish, begun_ns, is_chat=True)
    answers = await chat_answers(request, served, asked)
    return _answered(served, wish, frames(answers, lines))


async def generate(request: Request) -> ASGIApp:
    begun_ns = time.time_ns()
    wanted = read_prompt(await body_of(request), new_picture_mark())
    wish, asked = wanted.wish, wanted.asked
    if asked is None:
        return await _only_there(request, wish, begun_ns, is_chat=False)
    check_quota(request)
    served = generative(request, wish.name)
    lines = _lines(served, wish, begun_ns, is_chat=False)
    if isinstance(asked, CompletionRequest):
        told = frames(await _bare(request, served, asked), lines)
    else:
        check_thinks(wish.think, served.template.style, wish.name or served.name)
        told = await _going_on(request, served, wish, asked, lines)
    return _answered(served, wish, told)


async def _only_there(request: Request, wish: Wish, begun_ns: int, *, is_chat: bool) -> Response:
    """The model is to be loaded or unloaded, and nothing else. Raises HTTPProblem for one that is
    never unloaded."""
    served = any_model(request, wish.name)
    if not wish.unloads:
        await until_ready(served, wish.keep_s)
    elif served.engine.lease:
        served.engine.lease.dismiss()
    else:
        raise refused("unload", wish.name)
    head = Head(wish.name or served.name, begun_ns)
    line = nothing_asked(
        head, time.time_ns(), is_chat=is_chat, streams=wish.streams, unloads=wish.unloads
    )
    kind = "application/x-ndjson" if wish.streams else "application/json"
    return Response(line, media_type=kind)


async def _bare(request: Request, served: Served, asked: CompletionRequest) -> Answers:
    if asked.params.pictures:
        served.check_takes(asked.params.pictures.modalities)
    params = as_served(asked.params, served, None, asked.model)
    wanted = Asked(await filled(served, asked), params, _TEXT, asked.structure_field)
    return answer_to(request, served, wanted)


async def _going_on(
    request: Request, served: Served, wish: Wish, asked: ChatRequest, lines: Lines
) -> Frames:
    """A prompt as a chat of one turn, behind the tokens of earlier turns where it has any."""
    ours = await turned(served, asked, _TEXT, goes_on=bool(wish.context))
    tokens = None
    if wish.context:
        tokens = (*wish.context, *(await served.engine.tokenize(ours.prompt, False)).tokens)
    said: list[str] = []
    written = turn_written(request, served, asked, ours, tokens, _TEXT)
    answers = taken_apart(_overheard(written, said), ours)
    if asked.params.pictures:
        return frames(answers, lines)
    return _with_context(answers, lines, served, wish.context, ours.prompt, said)


async def _overheard(answers: Answers, said: list[str]) -> Answers:
    """The same answers, their text with all its marks added to `said`."""
    async with aclosing(answers):
        async for index, event in answers:
            if isinstance(event, TextDelta):
                said.append(event.text)
            yield index, event


async def _with_context(
    answers: Answers,
    lines: Lines,
    served: Served,
    context: tuple[int, ...],
    prompt: str,
    said: list[str],
) -> Frames:
    async with aclosing(answers):
        async for index, event in answers:
            if isinstance(event, Finished):
                lines.context = await _context(served, context, prompt + "".join(said))
            if data := lines.feed(index, event):
                yield data


async def _context(served: Served, before: tuple[int, ...], text: str) -> list[int] | None:
    """None where the model can't tokenize it now: the answer is whole without."""
    try:
        found = await served.engine.tokenize(text, not before)
    except EdgellmError:
        return None
    return [*before, *found.tokens]


def _lines(served: Served, wish: Wish, begun_ns: int, *, is_chat: bool) -> Lines:
    head = Head(wish.name or served.name, begun_ns)
    return Lines(head, time.time_ns, is_chat=is_chat, streams=wish.streams)


def _answered(served: Served, wish: Wish, told: AsyncGenerator[bytes, None]) -> ASGIApp:
    app = StreamedAnswer(told) if wish.streams else WholeAnswer(told)
    warning = context_warning(wish.options, served.engine.plan.n_ctx_seq)
    return Warned(app, [warning]) if warning else app
