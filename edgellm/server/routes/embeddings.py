"""POST /v1/embeddings: texts or token ids to vectors, as numbers or as base64 of float32.

`dimensions` cuts a vector and scales it back to length 1, as OpenAI defines it; only models
trained for that (Matryoshka) keep their sense, which a GGUF does not tell.

/embedding is llama-server's own form of it, and /embeddings takes either: who writes `content`
means llama-server's. It alone tells the vectors of all tokens, where nothing is pooled.
"""

import asyncio
import base64
import math
import sys
from array import array
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.types import ASGIApp

from edgellm.errors import BadRequest
from edgellm.runner.messages import Embedded
from edgellm.server.answers import read
from edgellm.server.body import decode
from edgellm.server.envelope import text_is_called
from edgellm.server.gateway import body_of, counter_of, models_of
from edgellm.server.openai.messages import Name
from edgellm.server.openai.requests import Prompt, split_prompts
from edgellm.server.openai.sampling import TimeToLive
from edgellm.server.served import Served
from edgellm.server.sse import Frames, WholeAnswer

MAX_INPUTS = 2048  # OpenAI's


class EmbeddingsBody(msgspec.Struct):
    input: Prompt | None = None
    content: Prompt | None = None  # llama-server's word for it
    model: Name | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=65536)] | None = None
    embd_normalize: Annotated[int, Meta(ge=-1, le=64)] | None = None  # see messages.Embed
    ttl: TimeToLive | None = None


class Embedding(msgspec.Struct):
    object: str
    index: int
    embedding: list[float] | str


class EmbeddingUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class Embeddings(msgspec.Struct):
    object: str
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class NativeEmbedding(msgspec.Struct):
    index: int
    embedding: list[list[float]]


_decoder = msgspec.json.Decoder(EmbeddingsBody)


async def embeddings(request: Request) -> ASGIApp:
    body = decode(_decoder, await body_of(request))
    return _answered(request, body, is_native=body.input is None and body.content is not None)


async def native_embeddings(request: Request) -> ASGIApp:
    return _answered(request, decode(_decoder, await body_of(request)), is_native=True)


def _answered(request: Request, body: EmbeddingsBody, *, is_native: bool) -> ASGIApp:
    field = "input" if body.input is not None else "content"
    given = body.input if body.input is not None else body.content
    if given is None:
        raise BadRequest("input: is missing; it is the text to embed", param="input")
    inputs = split_prompts(given, field, MAX_INPUTS)
    if "" in inputs:
        raise BadRequest(f"{field}: an empty text has no embedding", param=field)
    served = models_of(request).embedding(body.model)
    check(served, body.dimensions, is_native=is_native)
    norm = 2 if body.embd_normalize is None else body.embd_normalize
    embed = partial(served.engine.embed, inputs, norm)
    work = partial(read, served, embed, counter_of(request))
    return WholeAnswer(_answer(served, work, body, field, is_native))


def check(served: Served, dimensions: int | None, *, is_native: bool = False) -> None:
    """Before anything is computed for it. Raises BadRequest."""
    ready = served.engine.ready
    if ready is None:
        return
    if ready.pooling == "none" and not is_native:
        raise BadRequest(
            f"{served.name} gives a vector for each token (pooling none), and not one for a text",
            hint="ask it by POST /embedding, or serve it with --pooling mean, cls or last",
            param="model",
        )
    if dimensions and dimensions > ready.n_embd:
        raise BadRequest(
            f"dimensions: {dimensions} are more than this model's {ready.n_embd}",
            param="dimensions",
        )


async def _answer(
    served: Served,
    work: Callable[[], Awaitable[Embedded]],
    body: EmbeddingsBody,
    field: str,
    is_native: bool,
) -> Frames:
    with text_is_called(field):
        embedded = await work()
    served.keep(body.ttl)
    # 2,048 vectors are megabytes of JSON: not on the loop that carries everybody's tokens.
    if is_native:
        ready = served.engine.ready
        n_embd = ready.n_embd if ready else len(embedded.vectors[0]) // 4
        yield await asyncio.to_thread(_encode_native, embedded, n_embd)
    else:
        yield await asyncio.to_thread(_encode, embedded, served.name, body)


def _encode(embedded: Embedded, model: str, body: EmbeddingsBody) -> bytes:
    data = [
        Embedding("embedding", i, _on_the_wire(vector, body))
        for i, vector in enumerate(embedded.vectors)
    ]
    usage = EmbeddingUsage(embedded.n_tokens, embedded.n_tokens)
    return msgspec.json.encode(Embeddings("list", data, model, usage))


def _encode_native(embedded: Embedded, n_embd: int) -> bytes:
    """A list of vectors for each input: of its tokens, or the one of all."""
    rows = []
    for i, vector in enumerate(embedded.vectors):
        numbers = floats(vector, None).tolist()
        each = [numbers[at : at + n_embd] for at in range(0, len(numbers), n_embd)]
        rows.append(NativeEmbedding(i, each))
    return msgspec.json.encode(rows)


def _on_the_wire(vector: bytes, body: EmbeddingsBody) -> list[float] | str:
    if body.encoding_format != "base64":
        return floats(vector, body.dimensions).tolist()
    if body.dimensions:
        cut = floats(vector, body.dimensions)
        if sys.byteorder == "big":
            cut.byteswap()
        vector = cut.tobytes()
    return base64.b64encode(vector).decode()


def floats(vector: bytes, dimensions: int | None) -> "array[float]":
    """A vector as the worker sends it, cut to so many numbers."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    if dimensions is None or dimensions >= len(numbers):
        return numbers
    cut = numbers[:dimensions]
    length = math.sqrt(math.fsum(x * x for x in cut))
    return array("f", (x / length for x in cut)) if length else cut
