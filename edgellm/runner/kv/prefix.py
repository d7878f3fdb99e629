"""What a new prompt has in common with what the KV cache already holds. Pure.

Sources are the running sequences and the retained ones: prompts and answers of requests that have
ended, kept until their cells are needed. A match is a fork of a source's first `length` tokens. The
last token of a prompt is always computed, because its logits are what we are after.

A row's numbers depend, in their last bits, on how many rows were computed with it. Where that must
not show (`n_chunk`), only whole chunks of prompts are shared: the newcomer would have computed them
just so itself.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from edgellm.chat.messages import AdapterSet
from edgellm.runner.intake.pictures import Placed, whole_pictures
from edgellm.runner.kv.cells import Lease


@dataclass(eq=False, slots=True)
class Retained:
    """A finished sequence whose cells are still there."""

    seq_id: int
    tokens: list[int]
    lease: Lease
    n_prompt: int  # the rest are an answer's, computed one by one
    adapters: AdapterSet = ()  # its cells were computed with these

    @property
    def n_computed(self) -> int:
        return len(self.tokens)


class Source(Protocol):
    """Running or retained: tokens, of which the first n_computed have their cells."""

    seq_id: int
    tokens: list[int]
    lease: Lease
    n_prompt: int

    @property
    def n_computed(self) -> int: ...

    @property
    def adapters(self) -> AdapterSet: ...


@dataclass(frozen=True, slots=True)
class Match:
    source: Source
    length: int


def common_prefix(a: list[int], b: list[int], limit: int) -> int:
    """How many leading tokens are equal, at most `limit`. Compares slices, which is done in C."""
    limit = min(limit, len(a), len(b))
    if not limit or a[0] != b[0]:
        return 0
    low, step = 1, 32
    while low < limit and a[low : low + step] == b[low : low + step]:
        low, step = min(low + step, limit), step * 2
    if low >= limit:
        return limit
    high = min(low + step, limit)
    while low < high:  # a[:low] is equal, a[:high + 1] is not known to be
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def whole_chunks(length: int, n_chunk: int | None) -> int:
    """`length` rounded down to whole chunks. `n_chunk` None: as it is."""
    return length - length % n_chunk if n_chunk else length


def best_match(
    tokens: list[int],
    sources: Iterable[Source],
    n_chunk: int | None = None,
    pictures: tuple[Placed, ...] = (),
) -> Match | None:
    """The source whose *computed* tokens go furthest along this prompt, which has `pictures`."""
    best: Match | None = None
    for source in sources:
        limit = min(source.n_computed, len(tokens) - 1)
        if n_chunk:
            limit = min(limit, source.n_prompt)
        length = whole_chunks(common_prefix(tokens, source.tokens, limit), n_chunk)
        length = whole_pictures(length, pictures)
        if length > (best.length if best else 0):
            best = Match(source, length)
    return best


class RetainedStore:
    """Finished sequences by id, least recently used first."""

    def __init__(self, seq_ids: Iterable[int]) -> None:
        self.free_seq_ids = list(seq_ids)[::-1]
        self.by_id: OrderedDict[int, Retained] = OrderedDict()

    def add(self, tokens: list[int], lease: Lease, n_prompt: int, adapters: AdapterSet) -> Retained:
        kept = Retained(self.free_seq_ids.pop(), tokens, lease, n_prompt, adapters)
        self.by_id[kept.seq_id] = kept
        return kept

    def put(self, seq_id: int, tokens: list[int], n_prompt: int, adapters: AdapterSet) -> None:
        """Retain it on the id that it ran on."""
        self.by_id[seq_id] = Retained(seq_id, tokens, Lease(), n_prompt, adapters)

    def touch(self, kept: Retained) -> None:
        self.by_id.move_to_end(kept.seq_id)

    def drop(self, kept: Retained) -> None:
        del self.by_id[kept.seq_id]
        self.free_seq_ids.append(kept.seq_id)

    def oldest_first(self, last: Retained | None = None) -> list[Retained]:
        """Least recently used first; `last` as if it were used now."""
        kept = [each for each in self.by_id.values() if each is not last]
        return [*kept, last] if last else kept

    def oldest(self) -> Retained | None:
        return next(iter(self.by_id.values()), None)

    def __len__(self) -> int:
        return len(self.by_id)
