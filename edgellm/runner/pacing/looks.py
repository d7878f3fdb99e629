"""How much of memory the rows of a step pass, in a pool of KV cells and in streams. Pure.

It is counted in *looks*: one row, computed by itself, looking at one cell. Beside the looks stands
the reading of cells from memory, once for all rows of a step: 0.6 B, eight streams with 600 of 664
tokens in common take 145 ms a step in a pool and 186 apart (a small mixture of experts: 37 and 34).

With flash attention the CPU computes each row by itself, or many rows in tiles (looking_back.py),
and passes over cells of other conversations at little cost. Without it all rows are multiplied with
all cells as matrices: nothing is passed over, and a row beside others costs little more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from edgellm.runner.kv.prefix import common_prefix
from edgellm.runner.pacing.looking_back import (
    MASKED_LOOK,
    TILE_ROWS,
    TILED_LOOK,
    even_batches,
    is_tiled,
)
from edgellm.selector.memory.shape import pad256
from edgellm.selector.plan import Plan

_LEAST_CELLS = 256  # that a step without flash attention computes, however few are in use


class Part(NamedTuple):
    """A sequence's rows of one step."""

    n_rows: int
    depth: int  # tokens before them


class Passed(NamedTuple):
    cells: float  # read once for all rows
    looks: float


class ByLayout(NamedTuple):
    pool: Passed
    streams: Passed


class LookCost(NamedTuple):
    """Of one kind of attention; the unit is the caller's."""

    cell: float
    look: float

    def of(self, passed: Passed) -> float:
        return self.cell * passed.cells + self.look * passed.looks

    def times(self, factor: float) -> "LookCost":
        return LookCost(factor * self.cell, factor * self.look)


@dataclass(frozen=True, slots=True)
class FlashAttention:
    is_tiled: bool = True  # large batches are computed in tiles (looking_back.py)
    masked_look: float = MASKED_LOOK

    def passed(self, parts: Sequence[Part], n_shared: int = 0) -> ByLayout:
        """By a step with these parts, in the order of their ids. `n_shared`: cells that a pool
        saves, because the sequences share them."""
        n_pool, own = _in_pool(parts, n_shared)
        calls = ([p for p in parts if p.n_rows == 1], [p for p in parts if p.n_rows > 1])
        in_two_calls = sum(self._pool(call, n_pool, own) for call in calls)
        pool = min(self._pool(parts, n_pool, own), in_two_calls)
        streams = sum(self._streams(call) for call in calls)
        return ByLayout(Passed(n_pool, pool), Passed(_held(parts), streams))

    def cells(self, n_used: int) -> int:
        """That a row passes behind so many of its own."""
        return n_used

    def _pool(self, call: Sequence[Part], n_pool: float, own: float) -> float:
        if self.is_tiled and sum(part.n_rows for part in call) >= TILE_ROWS:
            seen = (max(tile) + own * (sum(tile) - max(tile)) for tile in _tiles(call))
            return sum(TILE_ROWS * TILED_LOOK * self._with_masked(each, n_pool) for each in seen)
        return sum(part.n_rows * self._with_masked(part.depth, n_pool) for part in call)

    def _streams(self, call: Sequence[Part]) -> float:
        by_rows = sorted(call)
        batches = even_batches(part.n_rows for part in call)
        return sum(rows * self._look(rows) * _held(by_rows[-n:]) for rows, n in batches)

    def _with_masked(self, seen: float, n_pool: float) -> float:
        return seen + self.masked_look * max(0.0, n_pool - seen)

    def _look(self, n_rows: int) -> float:
        return TILED_LOOK if self.is_tiled and n_rows >= TILE_ROWS else 1.0


class PlainAttention:
    """Without flash attention. What is said below of cells is less the _LEAST_CELLS that each step
    computes: those are in what its rows take in empty memory."""

    def passed(self, parts: Sequence[Part], n_shared: int = 0) -> ByLayout:
        """As FlashAttention's."""
        n_pool, _ = _in_pool(parts, n_shared)
        in_pool, n_rows = self.cells(round(n_pool)), sum(part.n_rows for part in parts)
        fewest = min((part.n_rows for part in parts), default=0)
        # Rows of several streams in one batch pass as many cells each as the longest one has.
        deepest = self.cells(max((part.depth for part in parts), default=0))
        rests = [(part.n_rows - fewest, self.cells(part.depth)) for part in parts]
        streams = Passed(
            len(parts) * deepest + sum(cells for n, cells in rests if n),
            len(parts) * fewest * deepest + sum(n * cells for n, cells in rests),
        )
        return ByLayout(Passed(in_pool, n_rows * in_pool), streams)

    def cells(self, n_used: int) -> int:
        return max(0, pad256(n_used) - _LEAST_CELLS)


Attention: TypeAlias = FlashAttention | PlainAttention


def attention_of(plan: Plan) -> Attention:
    if plan.flash_attention is False:
        return PlainAttention()
    return FlashAttention(is_tiled(plan))


def _in_pool(parts: Sequence[Part], n_shared: int) -> tuple[float, float]:
    """The cells that these hold there, and which part of all but the longest one's is their own."""
    held, longest = _held(parts), max((part.depth for part in parts), default=0)
    own = max(0.0, 1 - n_shared / max(1, held - longest))
    return longest + own * (held - longest), own


def _held(parts: Iterable[Part]) -> int:
    return sum(part.depth for part in parts)


def _tiles(parts: Iterable[Part]) -> Iterable[list[int]]:
    """For each tile, the depths of the parts that have rows in it."""
    tile, room = list[int](), TILE_ROWS
    for part in parts:
        left = part.n_rows
        while left:
            tile.append(part.depth)
            taken = min(left, room)
            left, room = left - taken, room - taken
            if not room:
                yield tile
                tile, room = [], TILE_ROWS
    if tile:
        yield tile


def n_shared(texts: Iterable[list[int]]) -> int:
    """Tokens that a tree of these texts stores once less than the texts apart: in sorted order,
    what each has in common with the one before it."""
    return sum(common_prefix(a, b, len(a)) for a, b in pairwise(sorted(texts)))
