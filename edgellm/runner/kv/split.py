"""Split KV with full attention: every id is a stream of n_ctx_seq cells.

A shared prefix costs a copy. A sequence that ends stays on its stream, and the next turn of its
conversation goes on there; only what somebody else computes is copied. Sequences that have to make
room go to host memory whole, if the copy is not too large (away.py), and to disk (archived.py).

This is in_place.py without what a state demands: bare cells can be forked and cut back at any
length, so there are no checkpoints, and no step has to end at one.
"""

from dataclasses import replace

from edgellm.runner.batch import Copy, Op
from edgellm.runner.kv.in_place import InPlaceMemory
from edgellm.runner.kv.memory import NOTHING_CARRIED, WORTH_SHARING, Limits, SharedAnywhere
from edgellm.runner.kv.prefix import Match, Retained, Source
from edgellm.runner.kv.stops import first_end
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.sequence import Sequence


class SplitMemory(SharedAnywhere, InPlaceMemory):
    def __init__(self, limits: Limits, ops: list[Op], pace: Pace) -> None:
        if limits.state is None:  # nobody knows what a copy takes: nothing is copied out
            limits = replace(limits, state=NOTHING_CARRIED, disk_bytes=0, stored=())
        assert limits.state is not None
        super().__init__(limits, limits.state, ops, pace)

    def _enter(self, sequence: Sequence, others: object) -> None:
        self._stops[sequence.seq_id] = []

    def _is_whole(self, source: Source) -> bool:
        return True

    def _with_point(self, match: Match | None) -> Match | None:
        return match

    def _fork(self, source: int, target: int, length: int) -> None:
        self._ops.append(Copy(source, target, length))

    def _can_fork(self, kept: Retained, length: int) -> bool:
        return True

    def _lengths(self, kept: Retained) -> list[tuple[int, int]]:
        first = first_end(kept.tokens[: kept.n_prompt], self._limits.turn_ends)
        asked = min(kept.n_prompt - 1, kept.n_computed)  # what the same prompt could use again
        lengths = {first, asked, kept.n_computed}
        found = sorted(length for length in lengths if length >= WORTH_SHARING)
        return list(zip(found, [0, *found], strict=False))

    @property
    def _room_away_bytes(self) -> int:
        return self._state.budget_bytes
