"""POST /v1/embeddings: texts or token ids to vectors, as numbers or as base64 of float32.

`dimensions` cuts a vector and scales it back to length 1, as OpenAI defines it; only models
trained for that (Matryoshka) keep their sense, which a GGUF does not tell.
"""

import asyncio
import base64
import math
import sys
from array import array
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.types import ASGIApp

from edgellm.errors import BadRequest
from edgellm.runner.messages import Embedded
from edgellm.server.body import decode
from edgellm.server.envelope import text_is_called
from edgellm.server.gateway import gateway_of
from edgellm.server.openai_messages import Name
from edgellm.server.openai_requests import Prompt, split_prompts
from edgellm.server.served import Served
from edgellm.server.sse import Frames, WholeAnswer

MAX_INPUTS = 2048  # OpenAI's


class EmbeddingsBody(msgspec.Struct):
    input: Prompt
    model: Name | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=65536)] | None = None


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


_decoder = msgspec.json.Decoder(EmbeddingsBody)


async def embeddings(request: Request) -> ASGIApp:
    body = decode(_decoder, await request.body())
    inputs = split_prompts(body.input, "input", MAX_INPUTS)
    if "" in inputs:
        raise BadRequest("input: an empty text has no embedding", param="input")
    served = gateway_of(request).models.embedding(body.model)
    ready = served.engine.ready
    if body.dimensions and ready and body.dimensions > ready.n_embd:
        raise BadRequest(
            f"dimensions: {body.dimensions} are more than this model's {ready.n_embd}",
            param="dimensions",
        )
    return WholeAnswer(_answer(served, inputs, body))


async def _answer(
    served: Served, inputs: tuple[str | tuple[int, ...], ...], body: EmbeddingsBody
) -> Frames:
    with text_is_called("input"):
        embedded = await served.engine.embed(inputs)
    # 2,048 vectors are megabytes of JSON: not on the loop that carries everybody's tokens.
    yield await asyncio.to_thread(_encode, embedded, served.name, body)


def _encode(embedded: Embedded, model: str, body: EmbeddingsBody) -> bytes:
    data = [
        Embedding("embedding", i, _on_the_wire(vector, body))
        for i, vector in enumerate(embedded.vectors)
    ]
    usage = EmbeddingUsage(embedded.n_tokens, embedded.n_tokens)
    return msgspec.json.encode(Embeddings("list", data, model, usage))


def _on_the_wire(vector: bytes, body: EmbeddingsBody) -> list[float] | str:
    if body.encoding_format != "base64":
        return _floats(vector, body.dimensions).tolist()
    if body.dimensions:
        cut = _floats(vector, body.dimensions)
        if sys.byteorder == "big":
            cut.byteswap()
        vector = cut.tobytes()
    return base64.b64encode(vector).decode()


def _floats(vector: bytes, dimensions: int | None) -> "array[float]":
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    if dimensions is None or dimensions >= len(floats):
        return floats
    cut = floats[:dimensions]
    length = math.sqrt(math.fsum(x * x for x in cut))
    return array("f", (x / length for x in cut)) if length else cut
