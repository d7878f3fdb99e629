"""Inputs of any number, packed into batches that the model can take."""

from collections.abc import Iterator

from edgellm.errors import ContextTooLong
from edgellm.runner.backend import Backend, tokens_of
from edgellm.runner.messages import Embedded


def embed(backend: Backend, request_id: int, inputs: tuple[str | tuple[int, ...], ...]) -> Embedded:
    """One vector an input, in their order. Raises ContextTooLong, BadRequest."""
    tokens = [tokens_of(backend, each, "input") for each in inputs]
    limit = min(backend.limits.n_batch, backend.limits.n_ctx_seq)
    for i, each in enumerate(tokens):
        if len(each) > limit:
            raise ContextTooLong(
                f"input {i} has {len(each)} tokens; this model takes {limit} at once",
                param="input",
            )
    vectors: list[bytes] = []
    n_together = 1 if backend.limits.n_chunk else backend.limits.n_seq_max
    for batch in pack(tokens, backend.limits.n_batch, n_together):
        vectors += backend.embed(batch)
    return Embedded(request_id, tuple(vectors), sum(map(len, tokens)))


def pack(tokens: list[list[int]], n_batch: int, n_seq_max: int) -> Iterator[list[list[int]]]:
    """Consecutive inputs together, as many as fit: order is kept, no input is cut."""
    batch: list[list[int]] = []
    for each in tokens:
        full = sum(map(len, batch)) + len(each) > n_batch
        if batch and (full or len(batch) == n_seq_max):
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch
