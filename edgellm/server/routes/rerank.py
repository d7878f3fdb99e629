"""POST /v1/rerank: how well does each document answer the query? Best first.

One route takes what Jina's, Cohere's (v2), vLLM's and llama-server's clients send, and answers
with the fields that all of them read. Who writes `texts` for `documents` means Hugging Face's TEI,
and gets its plain list. The score is the classifier's own number, as llama-server tells it: it
orders documents of one query, and is no probability.
"""

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.types import ASGIApp

from edgellm.errors import BadRequest
from edgellm.runner.messages import Scored
from edgellm.server.answers import read
from edgellm.server.body import decode
from edgellm.server.envelope import text_is_called
from edgellm.server.gateway import body_of, counter_of, models_of
from edgellm.server.openai.messages import Name
from edgellm.server.openai.samplers import Positive
from edgellm.server.openai.wire import MIN_LOGPROB
from edgellm.server.routes.embeddings import EmbeddingUsage
from edgellm.server.served import Served
from edgellm.server.sse import Frames, WholeAnswer

MAX_DOCUMENTS = 2048


class Document(msgspec.Struct):
    text: str


Documents = Annotated[list[str | Document], Meta(max_length=MAX_DOCUMENTS)]


class RerankBody(msgspec.Struct):
    query: str | None = None
    documents: Documents | None = None
    texts: Documents | None = None  # TEI's word for them
    model: Name | None = None
    top_n: Positive | None = None
    return_documents: bool | None = None
    return_text: bool | None = None  # TEI's
    max_tokens_per_doc: Positive | None = None  # Cohere's


class Result(msgspec.Struct):
    index: int
    relevance_score: float
    document: Document | UnsetType = UNSET


class Reranked(msgspec.Struct):
    id: str
    object: str
    model: str
    usage: EmbeddingUsage
    results: list[Result]


class Rank(msgspec.Struct):
    """TEI's."""

    index: int
    score: float
    text: str | UnsetType = UNSET


_decoder = msgspec.json.Decoder(RerankBody)


async def rerank(request: Request) -> ASGIApp:
    body = decode(_decoder, await body_of(request))
    if not body.query:
        raise BadRequest("query: is missing, or empty", param="query")
    field = "texts" if body.texts is not None else "documents"
    given = body.texts if body.texts is not None else body.documents
    if not given:
        raise BadRequest(f"{field}: there must be at least one", param=field)
    documents = tuple(one if isinstance(one, str) else one.text for one in given)
    served = models_of(request).reranker(body.model)
    rank = partial(served.engine.rerank, body.query, documents, body.max_tokens_per_doc)
    work = partial(read, served, rank, counter_of(request))
    return WholeAnswer(_answer(served, work, documents, body, field))


async def _answer(
    served: Served,
    work: Callable[[], Awaitable[Scored]],
    documents: tuple[str, ...],
    body: RerankBody,
    field: str,
) -> Frames:
    with text_is_called(field):
        scored = await work()
    yield await asyncio.to_thread(_encode, scored, documents, served.name, body)


def _encode(scored: Scored, documents: tuple[str, ...], model: str, body: RerankBody) -> bytes:
    # JSON has no NaN: a classifier that gives one has nothing to say for that document.
    told = [score if math.isfinite(score) else MIN_LOGPROB for score in scored.scores]
    ranked = sorted(enumerate(told), key=lambda one: (-one[1], one[0]))
    ranked = ranked[: body.top_n]
    if body.texts is not None:
        shows = body.return_text or False
        return msgspec.json.encode(
            [Rank(i, score, documents[i] if shows else UNSET) for i, score in ranked]
        )
    shows = body.return_documents or False
    results = [Result(i, score, Document(documents[i]) if shows else UNSET) for i, score in ranked]
    usage = EmbeddingUsage(scored.n_tokens, scored.n_tokens)
    return msgspec.json.encode(
        Reranked(f"rerank-{secrets.token_hex(12)}", "list", model, usage, results)
    )
