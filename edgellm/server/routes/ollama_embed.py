"""Ollama's routes for vectors. A text that is too long for the model is cut, and a Warning header
says so; with `truncate: false` it is refused."""

import asyncio
import time
from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import ASGIApp

from edgellm.errors import EdgellmError
from edgellm.runner.backend import MAX_TOKEN_BYTES
from edgellm.runner.messages import Embedded
from edgellm.server.answers import Counter, read
from edgellm.server.envelope import code_of, text_is_called
from edgellm.server.gateway import body_of, check_quota, counter_of
from edgellm.server.ollama.embeds import (
    Embedding,
    embedded,
    one_embedded,
    read_embed,
    read_embeddings,
)
from edgellm.server.ollama.wire import Head
from edgellm.server.routes.embeddings import check, floats
from edgellm.server.routes.ollama_models import any_model, embedding, until_ready
from edgellm.server.routes.warned import Warned
from edgellm.server.served import Served
from edgellm.server.sse import Frames, WholeAnswer


async def embed(request: Request) -> ASGIApp:
    begun_ns = time.time_ns()
    return _answered(request, read_embed(await body_of(request)), begun_ns, is_one=False)


async def embeddings(request: Request) -> ASGIApp:
    begun_ns = time.time_ns()
    return _answered(request, read_embeddings(await body_of(request)), begun_ns, is_one=True)


def _answered(request: Request, asked: Embedding, begun_ns: int, *, is_one: bool) -> ASGIApp:
    """Without a text nothing is computed, so any model will do."""
    served = (embedding if asked.texts else any_model)(request, asked.name)
    head, warnings = Head(asked.name or served.name, begun_ns), list[str]()
    if asked.texts:
        check_quota(request)
        check(served, asked.dimensions)
    counter = counter_of(request)
    frames = _frames(served, asked, head, counter, warnings, is_one=is_one)
    return Warned(WholeAnswer(frames), warnings)


async def _frames(
    served: Served,
    asked: Embedding,
    head: Head,
    counter: Counter,
    warnings: list[str],
    *,
    is_one: bool,
) -> Frames:
    found = Embedded(0, (), 0)
    if asked.texts:
        with text_is_called(asked.field):
            found = await _found(served, asked, counter, warnings)
        served.keep(asked.keep_s)
    else:
        await until_ready(served, asked.keep_s)
    # Thousands of vectors are megabytes of JSON: not on the loop that carries everybody's tokens.
    yield await asyncio.to_thread(_encoded, found, asked, head, is_one)


async def _found(
    served: Served, asked: Embedding, counter: Counter, warnings: list[str]
) -> Embedded:
    """Let in and counted once, even where texts have to be cut and sent again."""

    async def work() -> Embedded:
        try:
            return await served.engine.embed(asked.texts)
        except EdgellmError as error:
            if not asked.truncates or code_of(error) != "context_length_exceeded":
                raise
        return await _embedded_cut(served, asked.texts, warnings)

    return await read(served, work, counter)


async def _embedded_cut(served: Served, texts: Sequence[str], warnings: list[str]) -> Embedded:
    most = _longest(served)
    cut = [await _cut(served, text, most) for text in texts]
    n_cut = sum(text != whole for text, whole in zip(cut, texts, strict=True))
    warnings.append(f"{n_cut} of {len(cut)} texts were cut to {most} tokens")
    return await served.engine.embed(tuple(cut))


def _longest(served: Served) -> int:
    """How many tokens of a text the model takes at once."""
    plan, ready = served.engine.plan, served.engine.ready
    served_most = min(plan.n_ctx_seq, plan.n_batch)
    return min(served_most, ready.n_ctx_train) if ready else served_most


async def _cut(served: Served, text: str, most: int) -> str:
    """Its first `most` tokens, with those that the model puts around them."""
    text = text[: most * MAX_TOKEN_BYTES]
    around = await served.engine.tokenize("", True)
    found = await served.engine.tokenize(text, False, parse_special=False, with_pieces=True)
    n_left = most - len(around.tokens)
    if len(found.tokens) <= n_left:
        return text
    return b"".join(found.pieces[:n_left]).decode(errors="ignore")


def _encoded(found: Embedded, asked: Embedding, head: Head, is_one: bool) -> bytes:
    vectors = [floats(vector, asked.dimensions).tolist() for vector in found.vectors]
    if is_one:
        return one_embedded(vectors)
    return embedded(head, vectors, found.n_tokens, time.time_ns())
