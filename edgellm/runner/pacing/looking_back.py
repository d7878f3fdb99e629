"""What it costs that a prompt's rows look at what lies before them. Pure: learnt from real steps.

A row costs more the deeper it lies in its prompt: it looks at every cell before it. What a look
costs depends on the kernel. llama.cpp's flash attention on a CPU computes each row by itself in a
small batch, and in a larger one whole tiles of TILE_ROWS rows, at less than half the price a row
(its ops.cpp, ggml_compute_forward_flash_attn_ext_f16). Beside 8 streams, with a prompt of 3,500
tokens, 0.6 B on two cores, 48 of its rows take 1.84 s, 56 take 1.36, and 64, in two tiles, 2.15. So
more rows may take less time, and each of the two ways has a price of its own.

A row computed by itself looks at its own sequence's cells. A tile of rows looks at tiles of 64
cells, at every one in which any of its rows has a cell. Where many conversations come and go, one
that begins lies in the holes that others have left: in nearly all tiles, from its first tokens on.

A stream's row in a tile makes all of the tile's rows look at that stream's cells. So beside streams
a prompt's rows may take half the time in a call of llama_decode of their own, though the weights
are read once more: 0.6 B on two cores, 7 streams of 512 tokens and 64 rows of a prompt as deep take
1.31 s in one call and 0.54 in two. costs.py tells which is faster.

Where each sequence is a stream of its own, it is a batch of its own, too, after the rows that all
of a call's streams have (even_batches). So 64 rows of a prompt beside a stream's one are 63 in that
batch, and no tile: with 1,000 tokens before them 880 ms, in a call of their own 490.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from edgellm.selector.plan import Plan

TILE_ROWS = 64  # GGML_FA_TILE_Q of ggml/src/ggml-cpu/common.h
_TILED_TYPES = ("f16", "f32")
# Believed at first: the depth at which looking back costs a row as much as all else does.
_FIRST_DEPTH = 16_384  # on a device; an 8 B model on an H200 is there at 100,000
_FIRST_CPU_DEPTH = 560  # row by row; 500 to 600 on an EPYC
_FIRST_TILED_DEPTH = 1_400  # in tiles; 1,200 to 1,430 there
TILED_LOOK = _FIRST_CPU_DEPTH / _FIRST_TILED_DEPTH  # a look in tiles, over one by a single row
MASKED_LOOK = 0.12  # at a cell that is passed over; plain_attention in profiles/speed.toml


def is_tiled(plan: Plan) -> bool:
    """Whether large batches are computed in tiles: on the CPU, with flash attention over a cache of
    floats."""
    has_floats = plan.kv_type_k == plan.kv_type_v and plan.kv_type_k in _TILED_TYPES
    on_cpu = plan.placement.n_gpu_layers == 0
    return on_cpu and plan.flash_attention is not False and has_floats


class Tiles(NamedTuple):
    """Cells in tiles that hold any cell of some prompts: with those of the streams, and without."""

    beside: int
    alone: int


class Before(NamedTuple):
    """What a step's prompt rows look back on."""

    depth: float  # tokens before a row in its own prompt, on average
    in_tiles: float  # cells in tiles that hold any cell of these prompts and of the streams
    own_tiles: float  # cells in tiles that hold any cell of these prompts
    counts: tuple[int, ...] = ()  # rows of each prompt; empty: all are one's

    @classmethod
    def of(cls, chunks: Iterable[tuple[int, int]], tiles: Sequence[Tiles] = ()) -> "Before":
        """`chunks`: of each prompt the number of rows, and the tokens before them. `tiles`: of the
        first prompt, the first two …; empty: as the depth."""
        weighed, counts = 0, list[int]()
        for count, depth in chunks:
            weighed += count * depth
            counts.append(count)
        mean = weighed / n_rows if (n_rows := sum(counts)) else 0.0
        beside, alone = tiles[min(len(counts), len(tiles)) - 1] if tiles else (mean, mean)
        return cls(mean, beside, alone, tuple(counts))

    @property
    def alone(self) -> "Before":
        """The same in a call that has no row of a stream."""
        return self._replace(in_tiles=self.own_tiles)


NOTHING = Before(0.0, 0.0, 0.0)


class Sizes(NamedTuple):
    """The numbers of prompt rows that may be chosen, beside the streams' rows."""

    blocks: list[range]  # all from 1 on; within a block, more rows cost more
    tiles: list[int]  # that fill exactly one tile: with the streams' rows, and without


class LookingBack:
    def __init__(
        self, tile_rows: int | None = None, *, on_cpu: bool = False, in_streams: bool = False
    ) -> None:
        """`tile_rows`: batches of so many rows are computed in tiles; None: none are. `in_streams`:
        each prompt is a batch of its own (see above)."""
        self._tile_rows, self._in_streams = tile_rows, in_streams
        row_depth = _FIRST_CPU_DEPTH if on_cpu else _FIRST_DEPTH
        self._ratio = {False: 1 / row_depth, True: 1 / _FIRST_TILED_DEPTH}
        self._seen = dict.fromkeys(self._ratio, False)

    @classmethod
    def of(cls, plan: Plan) -> "LookingBack":
        on_cpu = plan.placement.n_gpu_layers == 0
        tile_rows = TILE_ROWS if is_tiled(plan) else None
        return cls(tile_rows, on_cpu=on_cpu, in_streams=on_cpu and not plan.kv_unified)

    def in_rows(self, n_decode: int, n_prompt: int, before: Before) -> float:
        """The cost of looking back, of `n_prompt` rows in one call with `n_decode` of streams, in
        rows of a prompt with nothing before them."""
        if self._in_streams:
            batches = self._batches(n_decode, n_prompt, before)
            return sum(n * self._looks(rows, rows, before.depth) for rows, n in batches)
        n_rows = n_decode + n_prompt
        n_cells = before.in_tiles if self._fills(n_rows) else before.depth
        return self._looks(n_rows, n_prompt, n_cells)

    @property
    def sees_tiles(self) -> bool:
        """Whether it matters in which tiles cells lie."""
        return self._tile_rows is not None and not self._in_streams

    def passing(self, n_rows: int) -> float:
        """The cost of passing over one cell of somebody else, in rows as those of in_rows."""
        return n_rows * MASKED_LOOK * self._ratio[self._fills(n_rows)]

    def correct(self, n_decode: int, n_prompt: int, before: Before, factor: float) -> None:
        """Looking back costs such a call `factor` times what was believed: in batches computed as
        its own are, and in the others too as long as none of these was seen."""
        is_tiled = self.is_tiled(n_decode, n_prompt, before)
        self._seen[is_tiled] = True
        for way in self._ratio:
            if way == is_tiled or not self._seen[way]:
                self._ratio[way] *= factor

    def sizes(self, n_decode: int, n_most: int) -> Sizes:
        """From 1 to `n_most` rows, beside `n_decode` in the same call or in one before it."""
        if (size := self._tile_rows) is None:
            return Sizes([range(1, n_most + 1)], [])
        n_others = {0, self._n_others(n_decode)}  # in either way
        jumps = [size, *range(size + 1, n_decode + n_most + 1, size)]  # rows of a batch
        starts = {n - n_other for n in jumps for n_other in n_others}
        starts = {n for n in starts if 1 < n <= n_most}
        blocks = [range(a, b) for a, b in pairwise([1, *sorted(starts), n_most + 1])]
        tiles = sorted(n for n_other in n_others if 0 < (n := size - n_other) <= n_most)
        return Sizes(blocks, tiles)

    def is_tiled(self, n_decode: int, n_prompt: int, before: Before) -> bool:
        """Whether such a call is computed in tiles, or some of it."""
        if self._in_streams:
            return any(self._fills(n) for n, _ in self._batches(n_decode, n_prompt, before))
        return self._fills(n_prompt + self._n_others(n_decode))

    def _n_others(self, n_decode: int) -> int:
        """Rows that a prompt's batch has beside the prompt's. In streams it has one less than the
        prompt, which is in the batch of those that decode."""
        return -min(n_decode, 1) if self._in_streams else n_decode

    def _batches(self, n_decode: int, n_prompt: int, before: Before) -> Iterator[tuple[int, int]]:
        """Of prompts in streams."""
        n_others = self._n_others(n_decode)
        return even_batches(count + n_others for count in before.counts or (n_prompt,))

    def _fills(self, n_rows: int) -> bool:
        return self._tile_rows is not None and n_rows >= self._tile_rows

    def _looks(self, n_rows: int, n_prompt: int, n_cells: float) -> float:
        """Of a batch of `n_rows`, `n_prompt` of them prompts', at so many cells."""
        size = self._tile_rows
        if size is None or n_rows < size:
            return n_prompt * n_cells * self._ratio[False]
        return ceil(n_rows / size) * size * n_cells * self._ratio[True]


def even_batches(counts: Iterable[int]) -> Iterator[tuple[int, int]]:
    """How llama.cpp divides a call in which each sequence is on a stream of its own and has so many
    rows, if their ids adjoin: first as many of each as the shortest has, then as many of those that
    are left (llama-batch.cpp, split_equal). Of each batch the rows of one stream, and the number of
    streams."""
    done, shortest_first = 0, sorted(counts)
    for i, count in enumerate(shortest_first):
        if count > done:
            yield count - done, len(shortest_first) - i
            done = count
