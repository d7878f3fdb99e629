"""How long a prompt's chunk may be while other streams run. Pure: it is told what steps took.

A step that carries a prompt's chunk makes every running stream wait for it. The workload profile
says how long that wait may be (`itl_target_s`), costs.py what so many rows take: the chunk is the
largest that keeps the target. It shrinks as the prompt gets deeper and its rows dearer, so the
last gaps are no longer than the first.

No step takes just what was thought: rows look at another block of cells, something is copied
beside, the machine has a bad moment. So the aim lies below the target, by as much as steps have
come late of late.
"""

import math
from collections.abc import Callable, Sequence

from edgellm.runner.pacing.costs import StepCosts

# Where the streams alone use up the target, prompts still get as much time as they: whoever waits
# for a first token must not starve.
_LEAST_SHARE = 1.0  # of what the decoding rows of a step take
_UNREAD_S = 1.0  # between tokens that nobody reads as they come: what batch work wishes for, too
_FIRST_LATE = 0.04  # of a step's time: how late they are thought to come before one was seen
_MOST_LATE = 0.3  # counts of one: a stopped process says nothing of the next step
_NEWEST = 0.1  # weight of the newest step's
_ROOM = 3.0  # times the root of the mean square, to which steps in good time add nothing
_LEAST_AIM = 0.7  # of the target


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
    ) -> None:
        """`elapsed_s`: of the rows; `whole_s`: of the step, with what else was done in it."""
        if n_prompt_rows and n_decode_rows and self.itl_target_s is not None:
            self._compare(n_prompt_rows, n_decode_rows, whole_s or elapsed_s)
        self.costs.observe(n_decode_rows, n_prompt_rows, elapsed_s, unsure_s)

    def _compare(self, n_prompt_rows: int, n_decode_rows: int, whole_s: float) -> None:
        if thought_s := self.costs.mixed_s(n_decode_rows, n_prompt_rows):
            late = min(max(whole_s / (thought_s + self._masks_s) - 1, 0.0), _MOST_LATE)
            self._late_square += _NEWEST * (late**2 - self._late_square)

    @property
    def aim(self) -> float:
        """Of the target."""
        return max(_LEAST_AIM, 1 / (1 + _ROOM * math.sqrt(self._late_square)))

    def chunk(
        self,
        n_decoding: int,
        pending: Sequence[int],
        n_free_rows: int,
        masks_s: float = 0.0,
        *,
        is_read: bool = True,
    ) -> int:
        """How many prompt rows may go into the next step beside `n_decoding` running streams, whose
        structures take `masks_s` of it. `pending`: the rows that each prompt still has to come.
        `is_read`: somebody reads one of the streams as it comes.

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
        own_s = self.aim * target_s

        def largest(n_prefilling: float) -> int:
            shared_s = own_s * (1 + n_prefilling / n_decoding)
            allowed_s = max(shared_s - masks_s, alone_s * (1 + _LEAST_SHARE))
            return self._largest(n_decoding, n_free_rows, allowed_s)

        most = largest(1.0)
        return largest(sum(min(n / most, 1.0) for n in pending))

    def _largest(self, n_decoding: int, n_free_rows: int, allowed_s: float) -> int:
        low, high = 1, n_free_rows  # a chunk of `low` is taken, one above `high` is not
        while low < high:
            middle = (low + high + 1) // 2
            cost_s = self.costs.mixed_s(n_decoding, middle)
            if cost_s is None or cost_s <= allowed_s:
                low = middle
            else:
                high = middle - 1
        return low
