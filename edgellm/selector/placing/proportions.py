"""llama.cpp's tensor_split, both ways: the layers that a split gives, the split for given layers.

llama.cpp puts its k-th of n offloaded layers on the first device whose cumulated share of the
split exceeds k / n, all in float32. Source: src/llama-model.cpp load_tensors, std::upper_bound.
"""

import struct
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate


def tensor_split(counts: Sequence[int]) -> tuple[float, ...]:
    """Proportions for which llama.cpp gives device i exactly counts[i] layers.

    Cutting half a layer before each border keeps clear of float32 rounding on both sides.
    """
    if len(counts) < 2:
        return tuple(1.0 for _ in counts)
    return (counts[0] - 0.5, *(float(n) for n in counts[1:-1]), counts[-1] + 0.5)


@lru_cache(maxsize=4096)  # a search asks for the same ones of every context and every file
def layer_counts(split: tuple[float, ...], n_layers: int) -> tuple[int, ...]:
    """How many of n_layers offloaded layers each device gets."""
    cumulated = list(accumulate(map(_float32, split), lambda a, b: _float32(a + b)))
    borders = [_float32(part / cumulated[-1]) for part in cumulated]
    counts = [0] * len(split)
    for k in range(n_layers):
        counts[bisect_right(borders, _float32(k / n_layers))] += 1
    return tuple(counts)


def _float32(x: float) -> float:
    rounded: float = struct.unpack("f", struct.pack("f", x))[0]
    return rounded
