"""What it costs that a prompt's rows look at what lies before them. Pure: learnt from real steps.

A row costs more the deeper its prompt, by each cell that it looks at. How much a cell costs is the
kernel's: llama.cpp's flash attention on a CPU takes each row by itself in a batch of few, and tiles
of TILE_ROWS in a batch of that many, whole ones, at less than half the price of a row (its ops.cpp,
ggml_compute_forward_flash_attn_ext_f16). With 8 streams and a prompt of 3,500 tokens, 0.6 B on two
cores, 48 of its rows take 1.84 s, 56 take 1.36 and 64, in two tiles, 2.15. So more rows may take
less time, and each way has a price of its own.

A row by itself looks at its own cells. A tile of rows looks at tiles of 64 cells, at all of each in
which one of its rows has any: where many come and go, a conversation's cells lie in the holes that
others have left, in nearly all tiles from its beginning.
"""

from collections.abc import Iterable
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from edgellm.selector.plan import Plan

TILE_ROWS = 64  # GGML_FA_TILE_Q of ggml/src/ggml-cpu/common.h
_TILED_TYPES = ("f16", "f32")
# Before it was seen, the depth at which looking back is thought to cost a row as much as all else:
_FIRST_DEPTH = 16_384  # of a device; on an H200 an 8 B model gets there by 100,000
_FIRST_CPU_DEPTH = 560  # by single rows: 500 to 600 on an EPYC
_FIRST_TILED_DEPTH = 1_400  # by tiles: 1,200 to 1,430
TILED_LOOK = _FIRST_CPU_DEPTH / _FIRST_TILED_DEPTH  # at a cell by tiles, over one by a single row


def is_tiled(plan: Plan) -> bool:
    """Many rows of one batch are computed by tiles: on the CPU, with flash attention over a cache
    of floats."""
    has_floats = plan.kv_type_k == plan.kv_type_v and plan.kv_type_k in _TILED_TYPES
    on_cpu = plan.placement.n_gpu_layers == 0
    return on_cpu and plan.flash_attention is not False and has_floats


class Before(NamedTuple):
    """What lies before rows of prompts."""

    depth: float  # their own tokens, in the mean of these rows
    in_tiles: float  # cells in tiles that hold any of those who run

    @classmethod
    def of(cls, chunks: Iterable[tuple[int, int]], in_tiles: int | None) -> "Before":
        """`chunks`: rows of a prompt and the tokens before them; `in_tiles` None: as the depth."""
        n_rows, weighed = 0, 0
        for count, depth in chunks:
            n_rows, weighed = n_rows + count, weighed + count * depth
        mean = weighed / n_rows if n_rows else 0.0
        return cls(mean, mean if in_tiles is None else in_tiles)


NOTHING = Before(0.0, 0.0)


class Sizes(NamedTuple):
    """Numbers of a prompt's rows beside those of streams."""

    blocks: list[range]  # all from 1 on; within a block, more rows cost more
    tile: int | None  # makes just one; None: there are not as many


class LookingBack:
    def __init__(self, tile_rows: int | None = None, *, on_cpu: bool = False) -> None:
        """`tile_rows`: a batch of so many rows is computed by tiles; None: no batch is."""
        self._tile_rows = tile_rows
        row_depth = _FIRST_CPU_DEPTH if on_cpu else _FIRST_DEPTH
        self._ratio = {False: 1 / row_depth, True: 1 / _FIRST_TILED_DEPTH}
        self._seen = dict.fromkeys(self._ratio, False)

    @classmethod
    def of(cls, plan: Plan) -> "LookingBack":
        """The streams of a split KV are batches of their own."""
        tile_rows = TILE_ROWS if plan.kv_unified and is_tiled(plan) else None
        return cls(tile_rows, on_cpu=plan.placement.n_gpu_layers == 0)

    def in_rows(self, n_decode: int, n_prompt: int, before: Before) -> float:
        """As many rows of a prompt without anything before them cost what it costs that `n_prompt`
        rows, beside `n_decode` of streams, look back."""
        n_rows, size = n_decode + n_prompt, self._tile_rows
        if size is None or n_rows < size:
            return n_prompt * before.depth * self._ratio[False]
        return ceil(n_rows / size) * size * before.in_tiles * self._ratio[True]

    def correct(self, n_rows: int, factor: float) -> None:
        """Looking back costs so many times what was thought, in batches of so many rows; and in
        others, as long as none was seen."""
        is_tiled = self._is_tiled(n_rows)
        self._seen[is_tiled] = True
        for way in self._ratio:
            if way == is_tiled or not self._seen[way]:
                self._ratio[way] *= factor

    def sizes(self, n_decode: int, n_most: int) -> Sizes:
        """From 1 to `n_most` rows, beside `n_decode`."""
        size, n_rows = self._tile_rows, n_decode + n_most
        jumps = [size, *range(size + 1, n_rows + 1, size)] if size else []  # rows of all
        starts = [n - n_decode for n in jumps if 1 < n - n_decode <= n_most]
        blocks = [range(a, b) for a, b in pairwise([1, *starts, n_most + 1])]
        return Sizes(blocks, size - n_decode if size and n_decode < size <= n_rows else None)

    def _is_tiled(self, n_rows: int) -> bool:
        return self._tile_rows is not None and n_rows >= self._tile_rows
