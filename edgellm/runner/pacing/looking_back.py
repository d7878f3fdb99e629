"""What it costs that a prompt's rows look at what lies before them. Pure: learnt from real steps.

A row costs more the deeper its prompt, by each cell that it looks at. How much a cell costs is the
kernel's: llama.cpp's flash attention on a CPU takes each row by itself in a batch of few, and tiles
of TILE_ROWS in a batch of that many, whole ones, at less than half the price of a row (its ops.cpp,
ggml_compute_forward_flash_attn_ext_f16). With 8 streams and a prompt of 3,500 tokens, 0.6 B on two
cores, 48 of its rows take 1.84 s, 56 take 1.36 and 64, in two tiles, 2.15. So more rows may take
less time, and each way has a price of its own.
"""

from itertools import pairwise
from math import ceil

from edgellm.selector.plan import Plan

TILE_ROWS = 64  # GGML_FA_TILE_Q of ggml/src/ggml-cpu/common.h
_TILED_TYPES = ("f16", "f32")
# Before it was seen, the depth at which looking back is thought to cost a row as much as all else:
_FIRST_DEPTH = 16_384  # on an H200 an 8 B model gets there by 100,000, a CPU by 600
_FIRST_TILED_DEPTH = 1_400  # 1,200 to 1,430 on an EPYC
_ROWS_TO_TILES = 2.5  # a row's price over a tile's, before both were seen: 2.4 to 2.7 on an EPYC


def tile_rows(plan: Plan) -> int | None:
    """None: no kernel of this plan is known to work by tiles. Streams of a split KV are batches of
    their own, and what a device computes isn't the CPU's."""
    is_tiled = plan.kv_type_k == plan.kv_type_v and plan.kv_type_k in _TILED_TYPES
    is_on_cpu = plan.placement.n_gpu_layers == 0
    has_kernel = plan.flash_attention is not False and plan.kv_unified and is_on_cpu
    return TILE_ROWS if has_kernel and is_tiled else None


class LookingBack:
    def __init__(self, tile_rows: int | None = None) -> None:
        """`tile_rows`: a batch of so many rows is computed by tiles; None: no batch is."""
        self._tile_rows = tile_rows
        tiled = 1 / _FIRST_TILED_DEPTH
        self._ratio = {
            False: _ROWS_TO_TILES * tiled if tile_rows else 1 / _FIRST_DEPTH,
            True: tiled,
        }
        self._seen = dict.fromkeys(self._ratio, False)

    def in_rows(self, n_decode: int, n_prompt: int, depth: float) -> float:
        """As many rows of a prompt without anything before them cost what it costs that `n_prompt`
        rows, beside `n_decode` of streams, look at `depth` cells each."""
        is_tiled = self._is_tiled(n_decode + n_prompt)
        return self._n_rows(n_decode, n_prompt) * depth * self._ratio[is_tiled]

    def correct(self, n_rows: int, factor: float) -> None:
        """Looking back costs so many times what was thought, in batches of so many rows; and in
        others, as long as none was seen."""
        is_tiled = self._is_tiled(n_rows)
        self._seen[is_tiled] = True
        for way in self._ratio:
            if way == is_tiled or not self._seen[way]:
                self._ratio[way] *= factor

    def whole_tile(self, n_decode: int) -> int | None:
        """The prompt's rows that make one beside so many of streams."""
        return self._tile_rows - n_decode if self._tile_rows else None

    def blocks(self, n_decode: int, n_most: int) -> list[range]:
        """Numbers of a prompt's rows, from 1 to `n_most`, in ranges: within one, more cost more."""
        size, n_rows = self._tile_rows, n_decode + n_most
        jumps = [size, *range(size + 1, n_rows + 1, size)] if size else []  # rows of all
        starts = [n - n_decode for n in jumps if 1 < n - n_decode <= n_most]
        return [range(a, b) for a, b in pairwise([1, *starts, n_most + 1])]

    def _is_tiled(self, n_rows: int) -> bool:
        return self._tile_rows is not None and n_rows >= self._tile_rows

    def _n_rows(self, n_decode: int, n_prompt: int) -> int:
        n_rows, size = n_decode + n_prompt, self._tile_rows
        return ceil(n_rows / size) * size if size and n_rows >= size else n_prompt
