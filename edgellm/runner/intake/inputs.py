"""Tokens of what is to be embedded or ranked, none longer than the model takes.

Each of many texts is checked as soon as it is tokenized. Pairs that are far too long are refused
before that, because the query is tokenized again with each of up to two thousand documents.
"""

from edgellm.errors import BadRequest, ContextTooLong
from edgellm.runner.backend import MAX_TOKEN_BYTES, Backend, Input, tokens_of
from edgellm.runner.messages import Embed, Rerank
from edgellm.units import MIB, format_bytes

# For one answer's vectors: OpenAI's 2,048 inputs at 8,192 numbers each. JSON takes five times that;
# and without pooling, a short request could ask for gigabytes.
MOST_ANSWER_BYTES = 64 * MIB
FLOAT_BYTES = 4
_SHORTER_PAIR = "shorten them, or send max_tokens_per_doc"


def inputs_of(backend: Backend, request: Embed | Rerank) -> list[Input]:
    """On any thread. Raises ContextTooLong, BadRequest."""
    return _pairs(backend, request) if isinstance(request, Rerank) else _texts(backend, request)


def vectors_bytes(backend: Backend, n_tokens: int) -> int:
    """What an input of so many tokens is answered with."""
    n_vectors = n_tokens if backend.pooling == "none" else 1
    return n_vectors * backend.n_embd * FLOAT_BYTES


def _texts(backend: Backend, request: Embed) -> list[Input]:
    inputs, answer_bytes = [], 0
    for i, text in enumerate(request.inputs):
        tokens = tokens_of(backend, text, "input")
        _check(len(tokens), backend.n_input, f"input {i} has", "shorten it, or cut it into parts")
        answer_bytes += vectors_bytes(backend, len(tokens))
        if answer_bytes > MOST_ANSWER_BYTES:
            raise BadRequest(
                f"the vectors of the first {i + 1} inputs are {format_bytes(answer_bytes)}; "
                f"one answer may have {format_bytes(MOST_ANSWER_BYTES)}",
                hint="ask for fewer inputs at once",
                param="input",
            )
        inputs.append(Input(tokens, request.norm))
    return inputs


def _pairs(backend: Backend, request: Rerank) -> list[Input]:
    most, documents, limit = request.max_doc_tokens, request.documents, backend.n_input
    if most is not None:
        most = min(most, limit)
        documents = tuple(document[: most * MAX_TOKEN_BYTES] for document in documents)
    _check_text(request.query, limit, "the query has", "shorten it")
    for i, document in enumerate(documents):
        _check_text(document, limit, f"document {i} has", _SHORTER_PAIR)
    inputs = []
    for i, tokens in enumerate(backend.pairs(request.query, documents, most)):
        if not tokens:
            raise BadRequest(f"document {i} and the query are empty: they have no token")
        _check(len(tokens), limit, f"document {i} and the query have together", _SHORTER_PAIR)
        inputs.append(Input(tokens))
    return inputs


def _check(n_tokens: int, limit: int, what_has: str, hint: str) -> None:
    if n_tokens > limit:
        raise ContextTooLong(
            f"{what_has} {n_tokens} tokens; this model takes {limit} at once",
            hint=hint,
            param="input",
        )


def _check_text(text: str, limit: int, what_has: str, hint: str) -> None:
    if len(text) > limit * MAX_TOKEN_BYTES:
        raise ContextTooLong(
            f"{what_has} {len(text)} characters; this model takes {limit} tokens at once",
            hint=hint,
            param="input",
        )
