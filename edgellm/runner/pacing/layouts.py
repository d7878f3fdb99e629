"""Whether what has run would have run faster in the other layout of KV cells. Pure: it is told.

In one pool a prefix that several conversations share is there once, and costs nothing to share; but
each row passes over the cells of all others. In streams of their own each looks at its own cells
only, and what they share is copied. So the load decides, and it is seen only when it is served.

What is counted of each step is *looks*, as one row by itself looks at one cell: in the layout that
it ran in, and in the other. What the step took beyond what its rows take in empty memory (as
rehearsed) is looking back, and would have been as many times longer or shorter in the other. Both
sums forget: half after so many seconds of work.

A change pays if it would have saved a good part of the time, and several times what it costs. Loads
may take turns: so whoever changed, and lost by it, has to be twice as sure the next time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from edgellm.runner.kv.prefix import common_prefix
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.looking_back import TILE_ROWS, TILED_LOOK, is_tiled
from edgellm.selector.plan import Plan

_MASKED_LOOK = 0.12  # a cell that is passed over: plain_attention of profiles/speed.toml
# What of a look is reading the cell from memory, once for all rows of a step: 0.6 B, eight streams
# with 600 of 664 tokens in common take 145 ms a step in a pool and 186 apart (a small mixture: 37
# and 34).
_READ_PART = 0.35
_LEAST_DEPTH = 200  # a row costs as much as looking at more cells than that: what else is is noise
_WORTH_RATIO = 0.1  # of the time that was seen
_TIMES = 4.0  # what it costs
_MOST_TIMES = 64.0
_HALF_S = 60.0  # of work, after which what was seen counts half
_COPIED_BYTE_S = 3.5e-10  # from stream to stream; 0.6 B, f16, 15 copies of 2,000 tokens
_LAID_OUT_BYTE_S = 5e-10  # of all cells, until a change was measured: they are zeroed
_LEAST_CHANGE_S = 0.3


class Part(NamedTuple):
    """A sequence's rows of one step."""

    n_rows: int
    depth: int  # tokens before them


class Looks(NamedTuple):
    pool: float
    streams: float


@dataclass(frozen=True, slots=True)
class Attention:
    """How this model's rows look at cells."""

    is_tiled: bool = True  # many rows at once, by tiles
    masked_look: float = _MASKED_LOOK

    @classmethod
    def of(cls, plan: Plan) -> "Attention":
        """Without flash attention all rows are multiplied with all cells of a pool."""
        flash = plan.flash_attention is not False
        return cls(is_tiled(plan), _MASKED_LOOK if flash else 1.0)

    def looks(self, parts: Sequence[Part], n_shared: int = 0) -> Looks:
        """Of a step of these parts, in the order of their ids. `n_shared`: cells that a pool has
        less than streams have, for what the sequences have in common."""
        depths = [part.depth for part in parts]
        held, longest = sum(depths), max(depths, default=0)
        own = max(0.0, 1 - n_shared / max(1, held - longest))  # of each further sequence
        n_pool = longest + own * (held - longest)
        n_rows = sum(part.n_rows for part in parts)
        if self.is_tiled and n_rows >= TILE_ROWS:
            seen = (max(tile) + own * (sum(tile) - max(tile)) for tile in _tiles(parts))
            pool = sum(TILE_ROWS * TILED_LOOK * self._in_pool(each, n_pool) for each in seen)
        else:
            pool = sum(part.n_rows * self._in_pool(part.depth, n_pool) for part in parts)
        # llama.cpp takes as many rows of each stream as the one with the fewest has, and then the
        # rest (llama-batch.cpp, split_equal): 64 rows beside one are no tile any more.
        fewest = min((part.n_rows for part in parts), default=0)
        calls = ((n, part.depth) for part in parts for n in (fewest, part.n_rows - fewest))
        streams = sum(n * depth * self._look(n) for n, depth in calls)
        return Looks(_with_reading(pool, n_pool), _with_reading(streams, held))

    def _in_pool(self, seen: float, n_pool: float) -> float:
        return seen + self.masked_look * max(0.0, n_pool - seen)

    def _look(self, n_rows: int) -> float:
        return TILED_LOOK if self.is_tiled and n_rows >= TILE_ROWS else 1.0


def _with_reading(looks: float, n_cells: float) -> float:
    return (1 - _READ_PART) * looks + _READ_PART * n_cells


def _tiles(parts: Iterable[Part]) -> Iterable[list[int]]:
    """The depths of those who have rows in each."""
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
    """Tokens that these have in common with those before them, as a tree of them has it: neighbours
    in their order have the most."""
    return sum(common_prefix(a, b, len(a)) for a, b in pairwise(sorted(texts)))


class LayoutChoice:
    """For the layout that a plan begins with, and for each one after it."""

    def __init__(self, plan: Plan, rows: StepCosts, cell_bytes: int, kv_bytes: int) -> None:
        """`rows`: what steps take in empty memory. `cell_bytes` of one token, `kv_bytes` of all."""
        self.is_pool = plan.kv_unified
        self._attention, self._rows = Attention.of(plan), rows
        self._copy_s = cell_bytes * _COPIED_BYTE_S
        self.change_s = _LEAST_CHANGE_S + kv_bytes * _LAID_OUT_BYTE_S
        self._times = _TIMES
        self.busy_s = self.saved_s = 0.0  # seen of late; what the other layout had saved of it

    @property
    def pays(self) -> bool:
        """The other layout is clearly better for what runs of late."""
        is_much = self.saved_s > _WORTH_RATIO * self.busy_s
        return is_much and self.saved_s > self._times * self.change_s

    def observe(
        self,
        parts: Sequence[Part],
        n_decode: int,
        elapsed_s: float,
        n_shared: int,
        n_copied: int,
        n_steps: int = 1,
    ) -> None:
        """So many steps, each of these rows, `n_decode` of them with logits, took so long together.
        `n_copied`: tokens that streams copy from one another for those who began with the first."""
        pool, streams = self._attention.looks(parts, n_shared)
        here, there = (pool, streams) if self.is_pool else (streams, pool)
        back_s = n_steps * self._back_s(parts, n_decode, elapsed_s / n_steps, here)
        saved_s = back_s * (1 - there / here) if here else 0.0
        copied_s = n_copied * self._copy_s
        kept = 0.5 ** (elapsed_s / _HALF_S)
        self.busy_s = kept * self.busy_s + elapsed_s + (0 if self.is_pool else copied_s)
        self.saved_s = kept * self.saved_s + saved_s + (-copied_s if self.is_pool else copied_s)
        if -self.saved_s > self._times * self.change_s:
            self._times = _TIMES  # where it is now it is right

    def changed(self, elapsed_s: float) -> None:
        """It has the other layout now, and that took so long."""
        self.is_pool, self.change_s = not self.is_pool, max(elapsed_s, _LEAST_CHANGE_S)
        self.busy_s = self.saved_s = 0.0
        self._times = min(2 * self._times, _MOST_TIMES)

    def _back_s(
        self, parts: Sequence[Part], n_decode: int, elapsed_s: float, looks: float
    ) -> float:
        """What of the step was looking back."""
        n_rows = sum(part.n_rows for part in parts)
        rows_s = self._rows.mixed_s(n_decode, n_rows - n_decode)
        if rows_s is None:
            return 0.0
        most_s = looks * rows_s / (n_rows * _LEAST_DEPTH)
        return min(max(0.0, elapsed_s - rows_s), most_s)
