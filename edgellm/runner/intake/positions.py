"""Where llama.cpp has a token, in models that place pictures in two dimensions (M-RoPE). Pure.

There a picture of 30 × 20 rows takes the positions of 30 tokens, so the next token's position is
not its index. All decisions count tokens; here a batch is translated into positions on its way to
llama.cpp. A fork takes along what the pictures in its prefix have saved; so does a conversation
that is copied out whole, until it comes back.

A picture's own rows keep their indexes: whoever has the vectors also has their places.
"""

from dataclasses import replace

from edgellm.runner.batch import (
    Batch,
    Copy,
    Discard,
    Forget,
    Fork,
    Op,
    RestoreAll,
    Row,
    Save,
    SaveAll,
    Start,
    Trim,
)
from edgellm.runner.intake.pictures import is_picture, position, saved

Savings = tuple[tuple[int, int], ...]  # (token, n): from that token on, positions are n fewer


class Positions:
    def __init__(self) -> None:
        self._savings: dict[int, Savings] = {}  # by seq_id, of those that have some
        self._away: dict[int, Savings] = {}  # by blob, of those that were copied out whole

    def put(self, batch: Batch) -> Batch:
        """The batch with positions instead of token indexes. Takes note of its operations."""
        has_some = self._savings or self._away
        if not has_some and not any(isinstance(op, Start) and op.pictures for op in batch.ops):
            return batch
        ops = tuple(map(self._op, batch.ops))
        return replace(batch, ops=ops, rows=tuple(map(self._row, batch.rows)))

    def _row(self, row: Row) -> Row:
        if row.seq_id not in self._savings or is_picture(row.token):
            return row
        return Row(row.seq_id, self._of(row.seq_id, row.pos), row.token, row.wants_logits)

    def _op(self, op: Op) -> Op:
        match op:
            case Fork(source, target, length) | Copy(source, target, length):
                self._take(source, target, length)
                return replace(op, length=self._of(source, length))
            case Trim(seq_id, length):
                cut = replace(op, length=self._of(seq_id, length))
                self._take(seq_id, seq_id, length)
                return cut
            case Save(source, start, end):
                return replace(op, start=self._of(source, start), end=self._of(source, end))
            case SaveAll(source, blob):
                if source in self._savings:
                    self._away[blob] = self._savings[source]
            case RestoreAll(blob, target):
                self._set(target, self._away.get(blob, ()))
            case Discard(blob):
                self._away.pop(blob, None)
            case Forget(seq_id):
                self._savings.pop(seq_id, None)
            case Start():
                self._set(op.seq_id, saved(op.pictures))
        return op

    def _of(self, seq_id: int, at: int) -> int:
        return position(at, self._savings.get(seq_id, ()))

    def _take(self, source: int, target: int, length: int) -> None:
        held = self._savings.get(source, ())
        self._set(target, tuple(one for one in held if one[0] <= length))

    def _set(self, seq_id: int, savings: Savings) -> None:
        self._savings.pop(seq_id, None)
        if savings:
            self._savings[seq_id] = savings
