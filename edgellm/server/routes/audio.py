"""OpenAI's route for recordings: a file in, its text out. It is a chat with one question."""

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp

from edgellm.chat.sounds import measured
from edgellm.errors import BadRequest
from edgellm.server.gateway import body_of, models_of
from edgellm.server.openai.transcriptions import (
    FILE,
    AskedTranscription,
    TranscriptFold,
    TranscriptStream,
    transcription_request,
)
from edgellm.server.routes.text import chat_answers, frames, new_picture_mark
from edgellm.server.sse import StreamedAnswer, WholeAnswer

_TEXT = b"text/plain; charset=utf-8"
_JSON = b"application/json"


async def transcribe(request: Request) -> ASGIApp:
    content_type = request.headers.get("content-type", "")
    asked = transcription_request(await body_of(request), content_type, new_picture_mark())
    served = models_of(request).generative(asked.model)
    served.check_takes(("audio",), FILE)
    length_s = await _length_s(asked)
    answers = await chat_answers(request, served, asked.chat(served.template.source), FILE)
    if asked.stream:
        return StreamedAnswer(frames(answers, TranscriptStream()))
    fold = TranscriptFold(asked.form, asked.language, length_s)
    return WholeAnswer(frames(answers, fold), _TEXT if asked.form == "text" else _JSON)


async def _length_s(asked: AskedTranscription) -> float | None:
    """For who is told it. By its headers: nothing is decoded in this process."""
    if asked.form != "verbose_json":
        return None
    try:
        return (await asyncio.to_thread(measured, asked.file)).length_s
    except BadRequest as error:
        error.args, error.param = (f"{FILE}: {error}",), FILE
        raise
