"""How long a prompt's chunk may be while other streams run. Pure: it is told what steps took.

A step that carries a prompt's chunk makes every running stream wait for it. The workload profile
says how long that wait may be (`itl_target_s`), costs.py what so many rows take: the chunk is the
one that is read fastest of those that keep the target. It shrinks as the prompt gets deeper and its
rows dearer, so the last gaps are no longer than the first.

No step takes just what was thought: rows look at another block of cells, something is copied
beside, the machine has a bad moment. So the aim lies below the target, by as much as steps have
come late of late.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.looking_back import NOTHING, Before, Sizes

# Where the streams alone use up the target, prompts still get as much time as they: whoever waits
# for a first token must not starve.
_LEAST_SHARE = 1.0  # of what the decoding rows of a step take
_UNREAD_S = 1.0  # between tokens that nobody reads as they come: what batch work wishes for, too
_FIRST_LATE = 0.04  # of a step's time: how late they are thought to come before one was seen
_MOST_LATE = 0.3  # counts of one: a stopped process says nothing of the next step
_NEWEST = 0.1  # weight of the newest step's
_ROOM = 3.0  # times the root of the mean square, to which steps in good time add nothing
_LEAST_AIM = 0.7  # of the target


class Unread(NamedTuple):
    """Of one prompt."""

    n_rows: int
    depth: int  # tokens before them


class Pace:
    def __init__(
        self,
        itl_target_s: float | None,
        costs: StepCosts | None = None,
        slowdown: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """`slowdown`: how many times as long the next step takes because threads of our own compute
        beside it."""
        self.itl_target_s = itl_target_s
        self.costs = costs or StepCosts()
        self._slowdown = slowdown
        self._late_square = _FIRST_LATE**2
        self._masks_s = 0.0  # as told for the next step

    def begin(self) -> None:
        """The next step is decided on."""
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
        """`elapsed_s`: of the rows; `whole_s`: of the step, with what else was done in it; `before`
        the prompts' rows."""
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
        """Of the target."""
        return max(_LEAST_AIM, 1 / (1 + _ROOM * math.sqrt(self._late_square)))

    def chunk(
        self,
        n_decoding: int,
        unread: Sequence[Unread],
        n_free_rows: int,
        masks_s: float = 0.0,
        *,
        n_sitting: int = 0,
        in_tiles: int | None = None,
        is_read: bool = True,
    ) -> int:
        """How many prompt rows may go into the next step beside `n_decoding` running streams, whose
        structures take `masks_s` of it. `unread`: of each prompt, at least one, in the order of who
        is given rows. `n_sitting`: of the streams, how many wait and have no row in it. `in_tiles`:
        as in Before; None: as many as their depth. `is_read`: somebody reads one of the streams as
        it comes.

        Who waits for a first token counts as much as who waits for the next one: seven newcomers
        beside one stream may hold it up eight times as long as the target says, while one long
        prompt beside eight streams has to go in small pieces. But nobody counts for more than it
        can use: else a long prompt would get the time of six short ones that came with it.
        """
        self._masks_s = masks_s
        alone_s = self.costs.step_s(n_decoding) if n_decoding else None
        if alone_s is None or self.itl_target_s is None or n_free_rows < 1:
            return n_free_rows
        if self.costs.doubtful:
            return 0  # one step of the streams alone, to know what they take by now
        target_s = self.itl_target_s if is_read else max(self.itl_target_s, _UNREAD_S)
        n_most = min(n_free_rows, sum(each.n_rows for each in unread))
        n_beside = n_decoding - n_sitting
        sizes = self.costs.looking_back.sizes(n_beside, n_most)

        def cost_s(n_rows: int) -> float:
            before = Before.of(_chunks(unread, n_rows), in_tiles)
            return self.costs.mixed_s(n_beside, n_rows, before) or 0.0

        def fastest(n_prefilling: float) -> int:
            shared_s = target_s * (1 + n_prefilling / n_decoding)
            least_s = alone_s * (1 + _LEAST_SHARE)
            aim_s, most_s = (max(one - masks_s, least_s) for one in (self.aim * shared_s, shared_s))
            return _fastest(sizes, cost_s, aim_s, most_s)

        most = fastest(1.0)
        return fastest(sum(min(each.n_rows / most, 1.0) for each in unread))


def _fastest(sizes: Sizes, cost_s: Callable[[int], float], aim_s: float, most_s: float) -> int:
    """Of the numbers of rows whose step takes no longer than is aimed at, the one that is read in
    the least time a row; 1 if there is none. The first whole tile may take what the aim leaves of
    the target: with fewer rows, each takes more than twice the time where it lies deep."""

    def a_second(n_rows: int) -> float:
        return n_rows / max(cost_s(n_rows), 1e-9)

    found = [_largest(block, cost_s, aim_s) for block in sizes.blocks]
    if sizes.tile and cost_s(sizes.tile) <= most_s:
        found.append(sizes.tile)
    return max(filter(None, found), key=a_second, default=1)


def _largest(block: range, cost_s: Callable[[int], float], most_s: float) -> int:
    """Of these numbers of rows, of which more cost more. 0: even the first takes too long."""
    if cost_s(block[-1]) <= most_s:
        return block[-1]
    n_fit = bisect_right(block, most_s, key=cost_s)
    return block[n_fit - 1] if n_fit else 0


def _chunks(unread: Sequence[Unread], n_rows: int) -> Iterator[tuple[int, int]]:
    """Of so many rows: of each prompt how many, and the tokens before them."""
    for each in unread:
        n_taken = min(each.n_rows, n_rows)
        yield n_taken, each.depth
        n_rows -= n_taken
        if not n_rows:
            return
