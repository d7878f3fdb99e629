"""How long a prompt's chunk may be while other streams run. Pure: it is told what steps took.

A step with a prompt's chunk in it makes every running stream wait. The workload profile says how
long that wait may be (`itl_target_s`), and costs.py what a number of rows takes. Of the chunks that
keep the target, the one is taken whose rows are read fastest. It shrinks as the prompt gets deeper
and its rows dearer, so the last gaps between tokens are no longer than the first.

No step takes exactly what was expected: its rows look at one more block of cells, something is
copied alongside, the machine has a bad moment. So the aim lies below the target, by as much as
steps have lately been late.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.looking_back import NOTHING, Before, Sizes, Tiles

# Where decoding alone uses up the target, prompts still get so many times what decoding takes:
# whoever waits for a first token must not starve. With so much, the gaps get three times as long,
# and prompts are read in two thirds of the time; of prompt rows a second over the square root of
# the gap, that is the most.
_LEAST_SHARE = 2.0
UNREAD_S = 1.0  # the target where nobody reads tokens as they come; batch work's target, too
# How late steps come, as a part of the time expected:
_FIRST_LATE = 0.04  # believed before a step was seen
_MOST_LATE = 0.3  # counted of one step: a stopped process says nothing about the next one
_NEWEST = 0.1  # weight of the newest step in the mean square, to which steps in time add 0
_ROOM = 3.0  # root mean squares that the aim lies below the target
_LEAST_AIM = 0.7  # of the target


class Unread(NamedTuple):
    """The part of one prompt that is still to be read."""

    n_rows: int
    depth: int  # tokens before it


class Pace:
    def __init__(
        self,
        itl_target_s: float | None,
        costs: StepCosts | None = None,
        slowdown: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """`itl_target_s`: between two tokens of a stream; None: nobody counts. `slowdown`: how many
        times as long the next step takes, because other threads of this process compute."""
        self.itl_target_s = itl_target_s
        self.costs = costs or StepCosts()
        self._slowdown = slowdown
        self._late_square = _FIRST_LATE**2
        self._masks_s = 0.0  # of the next step, as `chunk` was told

    def begin(self) -> None:
        """The next step is about to be planned."""
        self._masks_s = 0.0
        self.costs.slow_down(self._slowdown())

    def observe(
        self,
        n_prompt_rows: int,
        n_decode_rows: int,
        elapsed_s: float,
        unsure_s: float = 0.0,
        whole_s: float | None = None,
        before: Before = NOTHING,
    ) -> None:
        """A step is over. `elapsed_s`: what its rows took, perhaps `unsure_s` less (costs.py);
        `whole_s`: the step with all else that was done in it; `before`: what its prompts' rows
        looked back on."""
        if n_prompt_rows and n_decode_rows and self.itl_target_s is not None:
            thought_s = self.costs.mixed_s(n_decode_rows, n_prompt_rows, before)
            self._compare(thought_s, whole_s or elapsed_s)
        self.costs.observe(n_decode_rows, n_prompt_rows, elapsed_s, unsure_s, before)

    def _compare(self, thought_s: float | None, whole_s: float) -> None:
        if thought_s:
            late = min(max(whole_s / (thought_s + self._masks_s) - 1, 0.0), _MOST_LATE)
            self._late_square += _NEWEST * (late**2 - self._late_square)

    @property
    def aim(self) -> float:
        """The part of the target to aim at."""
        return max(_LEAST_AIM, 1 / (1 + _ROOM * math.sqrt(self._late_square)))

    def chunk(
        self,
        n_decoding: int,
        unread: Sequence[Unread],
        n_free_rows: int,
        masks_s: float = 0.0,
        *,
        n_sitting: int = 0,
        tiles: Sequence[Tiles] = (),
        is_read: bool = True,
    ) -> int:
        """How many prompt rows may go into the next step, beside `n_decoding` running streams whose
        masks take `masks_s` of it.

        `unread`: the prompts (at least one), in the order in which they are given rows.
        `n_sitting`: those of the streams that sit this step out. `tiles`: see Before.of. `is_read`:
        somebody reads one of the streams as it comes.

        Whoever waits for a first token counts as much as whoever waits for the next one: beside one
        stream, seven newcomers may hold it up for eight times the target, while one long prompt
        beside eight streams goes in small pieces. But no prompt counts for more than it can use:
        otherwise a long one would get the time of six short ones that came with it.
        """
        self._masks_s = masks_s
        alone_s = self.costs.step_s(n_decoding) if n_decoding else None
        if alone_s is None or self.itl_target_s is None or n_free_rows < 1:
            return n_free_rows
        if self.costs.doubtful:
            return 0  # one step without prompts, to see what the streams take by now
        target_s = self.itl_target_s if is_read else max(self.itl_target_s, UNREAD_S)
        n_most = min(n_free_rows, sum(each.n_rows for each in unread))
        n_beside = n_decoding - n_sitting
        sizes = self.costs.looking_back.sizes(n_beside, n_most)

        def cost_s(n_rows: int) -> float:
            before = Before.of(_chunks(unread, n_rows), tiles)
            return self.costs.mixed_s(n_beside, n_rows, before) or 0.0

        def fastest(n_prefilling: float) -> int:
            shared_s = target_s * (1 + n_prefilling / n_decoding)
            least_s = alone_s * (1 + _LEAST_SHARE)
            aim_s, most_s = (max(one - masks_s, least_s) for one in (self.aim * shared_s, shared_s))
            return _fastest(sizes, cost_s, aim_s, most_s)

        most = fastest(1.0)
        return fastest(sum(min(each.n_rows / most, 1.0) for each in unread))


def _fastest(sizes: Sizes, cost_s: Callable[[int], float], aim_s: float, most_s: float) -> int:
    """The number of rows that are read in the least time a row, of those whose step takes at most
    `aim_s`; 1 if none does. One whole tile may take up to `most_s`: with fewer rows than a tile, a
    deep row takes more than twice the time."""

    def a_second(n_rows: int) -> float:
        return n_rows / max(cost_s(n_rows), 1e-9)

    found = [_largest(block, cost_s, aim_s) for block in sizes.blocks]
    found += [n for n in sizes.tiles if cost_s(n) <= most_s]
    return max(filter(None, found), key=a_second, default=1)


def _largest(block: range, cost_s: Callable[[int], float], most_s: float) -> int:
    """The largest that takes at most `most_s`, of numbers of rows of which more cost more. 0: even
    the first takes too long."""
    if cost_s(block[0]) > most_s:
        return 0
    if cost_s(block[-1]) <= most_s:
        return block[-1]
    return block[bisect_right(block, most_s, key=cost_s) - 1]


def _chunks(unread: Sequence[Unread], n_rows: int) -> Iterator[tuple[int, int]]:
    """How so many rows are dealt out: of each prompt how many, and the tokens before them."""
    for each in unread:
        n_taken = min(each.n_rows, n_rows)
        yield n_taken, each.depth
        n_rows -= n_taken
        if not n_rows:
            return
