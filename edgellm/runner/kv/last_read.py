"""What a stream held when it was last read, shared by all who copy it. Pure.

A prefix that several requests wait for is read out of its stream once, and put into each of theirs.
Between two such copies of one batch the stream may come to hold another conversation: its own was
evicted, and another one put back there. Then it has to be read again.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from edgellm.runner.batch import Copy, Forget, Op, Restore, RestoreAll, Resume

T = TypeVar("T")


class LastRead(Generic[T]):
    def __init__(self, read: Callable[[int], T]) -> None:
        """`read` returns all that a stream holds. What it raises comes through."""
        self._read = read
        self._held: tuple[int, T] | None = None

    def of(self, seq_id: int) -> T:
        if self._held is None or self._held[0] != seq_id:
            self._held = (seq_id, self._read(seq_id))
        return self._held[1]

    def heed(self, op: Op) -> None:
        """This operation is carried out next. (After a Trim the copy is still good: it holds more,
        and whoever copies cuts that off.)"""
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
        """Rows are computed next: every stream may change."""
        self._held = None
