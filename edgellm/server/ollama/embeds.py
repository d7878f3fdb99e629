"""Vectors in Ollama's words: `/api/embed` of one text or many, `/api/embeddings` of one prompt.

Without a text there is no vector, and the model is only wanted to be there.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from edgellm.errors import BadRequest
from edgellm.server.body import Bytes, Text, decode
from edgellm.server.ollama.options import Options, read_options
from edgellm.server.ollama.staying import keep_seconds
from edgellm.server.ollama.wire import Head, encode
from edgellm.server.openai.messages import Name
from edgellm.server.openai.unserved import NULL

MAX_INPUTS = 2048


@dataclass(frozen=True, slots=True)
class Embedding:
    """`truncates`: a text that is longer than the context is cut to it, as the client wants."""

    name: str
    texts: tuple[str, ...]
    field: str  # where the client wrote them
    options: Options
    truncates: bool
    dimensions: int | None = None
    keep_s: float | None = None  # as in requests.Wish


class EmbedBody(msgspec.Struct):
    input: Text | Annotated[list[Text], Meta(max_length=MAX_INPUTS)] | None = None
    model: Name | None = None
    truncate: bool | None = None
    dimensions: Annotated[int, Meta(ge=0, le=65536)] | None = None
    options: Raw = NULL
    keep_alive: float | Name | None = None


class EmbeddingsBody(msgspec.Struct):
    prompt: Text | None = None
    model: Name | None = None
    options: Raw = NULL
    keep_alive: float | Name | None = None


class Embedded(msgspec.Struct):
    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OneEmbedded(msgspec.Struct):
    embedding: list[float]


_embed_decoder = msgspec.json.Decoder(EmbedBody)
_embeddings_decoder = msgspec.json.Decoder(EmbeddingsBody)


def read_embed(data: Bytes) -> Embedding:
    """Raises BadRequest that names the field."""
    body = decode(_embed_decoder, data)
    texts = (body.input,) if isinstance(body.input, str) else tuple(body.input or ())
    if "" in texts and texts != ("",):
        raise BadRequest("input: an empty text has no embedding", param="input")
    return Embedding(
        name=body.model or "",
        texts=texts if texts != ("",) else (),
        field="input",
        options=read_options(body.options),
        truncates=body.truncate is not False,
        dimensions=body.dimensions or None,
        keep_s=keep_seconds(body.keep_alive),
    )


def read_embeddings(data: Bytes) -> Embedding:
    """Raises BadRequest that names the field."""
    body = decode(_embeddings_decoder, data)
    texts = (body.prompt,) if body.prompt else ()
    return Embedding(
        body.model or "",
        texts,
        "prompt",
        read_options(body.options),
        truncates=True,
        keep_s=keep_seconds(body.keep_alive),
    )


def embedded(head: Head, vectors: list[list[float]], n_tokens: int, now_ns: int) -> bytes:
    return encode(Embedded(head.model, vectors, now_ns - head.begun_ns, 0, n_tokens))


def one_embedded(vectors: list[list[float]]) -> bytes:
    return encode(OneEmbedded(vectors[0] if vectors else []))
