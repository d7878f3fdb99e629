"""What looking back costs, tried on one long conversation while nobody runs. Pure: decoding and the
clock are handed in.

Which kind of attention is faster depends on the processor, on the model's heads and on the depth:
at 2,000 tokens a step without flash attention takes 0.7 of the time with a 0.6 B model, and 1.1
with a small mixture. So a model that might gain by changing measures both, a few steps each.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from edgellm.runner.batch import Row
from edgellm.runner.pacing.looks import Attention, LookCost

LEAST_DEPTH = 512  # tokens; behind fewer the difference is smaller than the noise
_FEW = 4  # rows of a step, beside one of a single row
_LONG_S, _N_TIMES = 0.1, 3  # what takes longer is timed once

Clock = Callable[[], float]


class DepthTrial(NamedTuple):
    depth: int
    empty_s: Mapping[int, float]  # by rows, on empty memory
    deep_s: Mapping[int, float]  # behind so many tokens
    elapsed_s: float = 0.0  # that the trial took

    def cost(self, attention: Attention) -> LookCost:
        """Seconds."""
        cells = max(1, attention.cells(self.depth))
        each_s = {n: max(0.0, self.deep_s[n] - self.empty_s[n]) / cells for n in self.deep_s}
        few, one_s = max(each_s), each_s[1]
        look_s = max(0.0, each_s[few] - one_s) / (few - 1) if few > 1 else 0.0
        return LookCost(max(0.0, one_s - look_s), look_s)


def try_depth(
    decode: Callable[[tuple[Row, ...]], None],
    cut: Callable[[int], None],
    clock: Clock,
    token: int,
    depth: int,
    n_most: int,
) -> Mapping[int, float]:
    """Seconds by rows, of sequence 0 behind `depth` tokens. `cut` takes it back to so many;
    `n_most` rows can have logits."""
    found: dict[int, float] = {}
    for n_rows in sorted({1, min(_FEW, n_most)}):
        rows = tuple(Row(0, depth + i, token, True) for i in range(n_rows))
        taken_s = float("inf")
        for _ in range(_N_TIMES):
            begun_s = clock()
            decode(rows)
            taken_s = min(taken_s, clock() - begun_s)
            cut(depth)
            if taken_s > _LONG_S:
                break
        found[n_rows] = taken_s
    return found
