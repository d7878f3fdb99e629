"""Would what has run have run faster in the other layout of the KV cells? Pure: it is told.

In a pool, a prefix that several conversations share is stored once, and sharing costs nothing; but
every row passes over the cells of all others. With a stream for each, a row looks at its own cells
only, but what is shared has to be copied. So the load decides, and it is known only as it comes.

What is counted of each step is *looks*: one row, computed by itself, looking at one cell. They are
counted for the layout that the step ran in, and for the other. The time that the step took beyond
what its rows take in empty memory (as rehearsed) went into looking back, and would have been longer
or shorter in the other layout in proportion to the looks. The sums of both forget: after so many
seconds of work, what was seen counts half.

A change pays if it would have saved a good part of the time, and several times its own cost. Since
loads may alternate, whoever changed and lost by it has to be twice as sure the next time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from edgellm.runner.kv.prefix import common_prefix
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.looking_back import TILE_ROWS, TILED_LOOK, is_tiled
from edgellm.selector.plan import Plan

_MASKED_LOOK = 0.12  # at a cell that is passed over; plain_attention in profiles/speed.toml
# The part of a look that is reading the cell from memory, once for all rows of a step: 0.6 B, eight
# streams with 600 of 664 tokens in common take 145 ms a step in a pool and 186 apart (a small
# mixture of experts: 37 and 34).
_READ_PART = 0.35
_LEAST_DEPTH = 200  # looks that a row's own cost is worth, at least: more time than that is noise
_WORTH_RATIO = 0.1  # of the time that was seen must be saved,
_TIMES, _MOST_TIMES = 4.0, 64.0  # and so many times what a change costs
_HALF_S = 60.0  # of work, after which what was seen counts half
_COPIED_BYTE_S = 3.5e-10  # from stream to stream; 0.6 B, f16, 15 copies of 2,000 tokens
_LAID_OUT_BYTE_S = 5e-10  # of all cells, which are zeroed; until a change was measured
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

    is_tiled: bool = True  # large batches are computed in tiles (looking_back.py)
    masked_look: float = _MASKED_LOOK

    @classmethod
    def of(cls, plan: Plan) -> "Attention":
        """Without flash attention nothing is passed over: all rows are multiplied with all
        cells."""
        flash = plan.flash_attention is not False
        return cls(is_tiled(plan), _MASKED_LOOK if flash else 1.0)

    def looks(self, parts: Sequence[Part], n_shared: int = 0) -> Looks:
        """The looks of a step with these parts, in the order of their ids. `n_shared`: cells that a
        pool saves, because the sequences share them."""
        depths = [part.depth for part in parts]
        held, longest = sum(depths), max(depths, default=0)
        own = max(0.0, 1 - n_shared / max(1, held - longest))  # part of all but the longest
        n_pool = longest + own * (held - longest)
        calls = ([p for p in parts if p.n_rows == 1], [p for p in parts if p.n_rows > 1])
        in_two_calls = sum(self._pool(call, n_pool, own) for call in calls)
        pool = min(self._pool(parts, n_pool, own), in_two_calls)
        # llama.cpp first computes as many rows of each stream as the shortest one has, and then the
        # rest (llama-batch.cpp, split_equal): so 64 rows beside a single one make no whole tile.
        fewest = min((part.n_rows for part in parts), default=0)
        rests = ((n, part.depth) for part in parts for n in (fewest, part.n_rows - fewest))
        streams = sum(n * depth * self._look(n) for n, depth in rests)
        return Looks(_with_reading(pool, n_pool), _with_reading(streams, held))

    def _pool(self, call: Sequence[Part], n_pool: float, own: float) -> float:
        if self.is_tiled and sum(part.n_rows for part in call) >= TILE_ROWS:
            seen = (max(tile) + own * (sum(tile) - max(tile)) for tile in _tiles(call))
            return sum(TILE_ROWS * TILED_LOOK * self._in_pool(each, n_pool) for each in seen)
        return sum(part.n_rows * self._in_pool(part.depth, n_pool) for part in call)

    def _in_pool(self, seen: float, n_pool: float) -> float:
        return seen + self.masked_look * max(0.0, n_pool - seen)

    def _look(self, n_rows: int) -> float:
        return TILED_LOOK if self.is_tiled and n_rows >= TILE_ROWS else 1.0


def _with_reading(looks: float, n_cells: float) -> float:
    return (1 - _READ_PART) * looks + _READ_PART * n_cells


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


class LayoutChoice:
    """Begins with a plan's layout, and is told of each change."""

    def __init__(self, plan: Plan, rows: StepCosts, cell_bytes: int, kv_bytes: int) -> None:
        """`rows`: what steps take in empty memory. `cell_bytes`: of one token; `kv_bytes`: of
        all."""
        self.is_pool = plan.kv_unified
        self._attention, self._rows = Attention.of(plan), rows
        self._copy_s = cell_bytes * _COPIED_BYTE_S
        self.change_s = _LEAST_CHANGE_S + kv_bytes * _LAID_OUT_BYTE_S
        self._times = _TIMES
        self.busy_s = self.saved_s = 0.0  # computed lately; what the other layout would have saved

    @property
    def pays(self) -> bool:
        """The other layout is clearly better for what has run lately."""
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
        """`n_steps` steps, each with these parts and `n_decode` rows with logits, took `elapsed_s`
        together. `n_copied`: tokens that streams copy from one another for the sequences that began
        with the first of these steps."""
        pool, streams = self._attention.looks(parts, n_shared)
        here, there = (pool, streams) if self.is_pool else (streams, pool)
        back_s = n_steps * self._back_s(parts, n_decode, elapsed_s / n_steps, here)
        saved_s = back_s * (1 - there / here) if here else 0.0
        copied_s = n_copied * self._copy_s
        kept = 0.5 ** (elapsed_s / _HALF_S)
        self.busy_s = kept * self.busy_s + elapsed_s + (0 if self.is_pool else copied_s)
        self.saved_s = kept * self.saved_s + saved_s + (-copied_s if self.is_pool else copied_s)
        if -self.saved_s > self._times * self.change_s:
            self._times = _TIMES  # the present layout has proved right

    def changed(self, elapsed_s: float) -> None:
        """The layout was changed, which took so long."""
        self.is_pool, self.change_s = not self.is_pool, max(elapsed_s, _LEAST_CHANGE_S)
        self.busy_s = self.saved_s = 0.0
        self._times = min(2 * self._times, _MOST_TIMES)

    def _back_s(
        self, parts: Sequence[Part], n_decode: int, elapsed_s: float, looks: float
    ) -> float:
        """The part of the step that went into looking back."""
        n_rows = sum(part.n_rows for part in parts)
        rows_s = self._rows.mixed_s(n_decode, n_rows - n_decode)
        if rows_s is None:
            return 0.0
        most_s = looks * rows_s / (n_rows * _LEAST_DEPTH)
        return min(max(0.0, elapsed_s - rows_s), most_s)
