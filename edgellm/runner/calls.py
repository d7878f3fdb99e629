"""A step's calls of llama_decode. Each is made once, even if the step is tried again. Pure.

Most steps are one call. A picture is a call of its own, and batch-invariant each sequence is. A
call that finds no place leaves the memory as it was before that call; but earlier calls of the step
have computed their rows, and their samplers and masks have moved on. So when the same rows are
tried again, only what is left of them is computed. All rows of a sequence are in one call.
"""

from collections.abc import Callable, Iterable

from edgellm.runner.batch import Row, Sampled

Rows = tuple[Row, ...]
New = dict[int, tuple[Sampled, ...]]  # by seq_id


class Calls:
    def __init__(self) -> None:
        self._rows: Rows = ()  # of the step that isn't finished
        self._done: New = {}  # for each sequence that is computed, even if it has nothing new

    def run(
        self, rows: Rows, split: Callable[[Rows], Iterable[Rows]], compute: Callable[[Rows], New]
    ) -> New:
        """The new tokens of each sequence that wants some. What `compute` raises comes through;
        the same rows once more then go on from there."""
        is_retry = rows == self._rows
        if not is_retry:
            self._rows, self._done = rows, {}
        done = self._done
        left = tuple(row for row in rows if row.seq_id not in done) if done else rows
        for call in split(left):
            done |= dict.fromkeys([row.seq_id for row in call], ()) | compute(call)
        self._rows, self._done = (), {}
        return {seq_id: new for seq_id, new in done.items() if new}
