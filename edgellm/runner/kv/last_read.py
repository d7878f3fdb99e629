"""What a stream held when it was last read, for all who copy it, while it holds that. Pure.

A prefix that several requests wait for is copied out of its stream once and put into each of
theirs. Between two such copies of one batch the stream may have become another conversation's: who
must make place for it went away, and it was put back.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from edgellm.runner.batch import Copy, Forget, Op, Restore, RestoreAll, Resume

T = TypeVar("T")


class LastRead(Generic[T]):
    def __init__(self, read: Callable[[int], T]) -> None:
        """`read` says all that a stream holds. It may raise."""
        self._read = read
        self._held: tuple[int, T] | None = None

    def of(self, seq_id: int) -> T:
        if self._held is None or self._held[0] != seq_id:
            self._held = (seq_id, self._read(seq_id))
        return self._held[1]

    def heed(self, op: Op) -> None:
        """This is done next, whatever it is. A Trim leaves what may still be copied."""
        match op:
            case Forget(seq_id):
                changed = seq_id
            case Copy(_, target) | Restore(_, target) | RestoreAll(_, target) | Resume(_, target):
                changed = target
            case _:
                return
        if self._held and self._held[0] == changed:
            self._held = None

    def forget(self) -> None:
        """Rows are computed: from here on every stream changes."""
        self._held = None
