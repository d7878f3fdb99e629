"""Who runs together. Pure: it is told what steps took.

A context has one set of LoRA adapters at a time, so all sequences of a step share theirs. Where
running sequences have different sets, the sets take turns.

To change the set costs the next step a new graph. So a set keeps its turn for a while: for as long
as the inter-token target lets the others' streams wait. With G sets and equal turns, a stream waits
for G - 1 turns and its own step. Without a target (batch work) a turn is a second: long enough to
make changes cheap, short enough not to look stuck.
"""

from collections import deque
from collections.abc import Iterable

from edgellm.chat.messages import AdapterSet
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.pacing.smoothing import smoothed
from edgellm.runner.sequence import Sequence

_TURN_S = 1.0  # without a target


class Turns:
    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._line: deque[AdapterSet] = deque()  # it is the first one's turn; newcomers come last
        self._spent_s = 0.0  # of this turn
        self._step_s = 0.0
        self._is_empty = False  # nothing has been computed since `next` was called

    def next(self, running: Iterable[Sequence]) -> AdapterSet:
        """The set of the next step: of one of these sequences, if there are any."""
        wanted = dict.fromkeys([sequence.params.adapters for sequence in running])
        if len(wanted) == len(self._line) == 1 and self._line[0] in wanted and not self._is_empty:
            self._is_empty = True  # nobody to take turns with: nearly always the case
            return self._line[0]
        before = self._line[0] if self._line else None
        self._line = deque(one for one in self._line if one in wanted)
        self._line.extend(one for one in wanted if one not in self._line)
        if not self._line:
            return ()
        if self._line[0] != before:
            self._spent_s = 0.0
        elif self._is_empty or self._is_over():
            self._line.rotate(-1)
            self._spent_s = 0.0
        self._is_empty = True
        return self._line[0]

    def observe(self, elapsed_s: float) -> None:
        """A step of this turn took so long."""
        self._is_empty = False
        self._spent_s += elapsed_s
        self._step_s = smoothed(self._step_s or None, elapsed_s)

    def _is_over(self) -> bool:
        return bool(self._spent_s) and self._spent_s + self._step_s > self._turn_s()

    def _turn_s(self) -> float:
        n_others, target_s = len(self._line) - 1, self._pace.itl_target_s
        if not n_others:
            return float("inf")
        if target_s is None:
            return _TURN_S
        return (target_s - self._step_s) / n_others
