"""Split KV: every id is a stream of n_ctx_seq cells; a shared prefix costs a copy.

A sequence that ends stays where it is, and the next turn of its conversation goes on there. Only
what is being computed for somebody else is copied.
"""

from edgellm.runner.batch import Copy, Forget, Op, Trim
from edgellm.runner.kv.memory import WORTH_SHARING, Limits, SharedAnywhere, Still, used_by
from edgellm.runner.kv.prefix import Match, Retained, RetainedStore, Source
from edgellm.runner.sequence import Sequence


class SplitMemory(Still, SharedAnywhere):
    def __init__(self, limits: Limits, ops: list[Op]) -> None:
        self._limits, self._ops = limits, ops
        self.retained = RetainedStore(range(limits.n_seq_max))  # its free ids: the free streams
        self._running: dict[int, Sequence] = {}

    @property
    def used(self) -> int:
        held: list[Source] = [*self.retained.by_id.values(), *self._running.values()]
        return sum(each.n_computed for each in held)

    def admit(self, sequence: Sequence, match: Match | None, running: list[Sequence]) -> bool:
        if used := used_by(match):
            self.retained.touch(used)
        if match and isinstance(match.source, Retained) and self._stays(match, match.source):
            self._take_over(sequence, match.source, match.length)
            return True
        seq_id = self._free_stream()
        if seq_id is None:
            return False
        self._enter(sequence, seq_id)
        if match and match.length >= WORTH_SHARING:
            self._ops.append(Copy(match.source.seq_id, seq_id, match.length))
            sequence.n_cached = sequence.n_computed = match.length
        return True

    def grow(self, sequence: Sequence, count: int) -> None:
        """A stream is as long as a conversation may get: there is nothing to count."""

    def leave(self, sequence: Sequence) -> None:
        seq_id = sequence.seq_id
        del self._running[seq_id]
        if sequence.n_computed and self._limits.shares_prefixes:
            tokens = sequence.tokens[: sequence.n_computed]
            self.retained.put(seq_id, tokens, sequence.n_prompt, sequence.adapters)
        else:
            self._ops.append(Forget(seq_id))
            self.retained.free_seq_ids.append(seq_id)

    def relieve(self) -> None:
        while kept := self.retained.oldest():
            self.retained.drop(kept)
            self._ops.append(Forget(kept.seq_id))

    def check(self, running: list[Sequence]) -> None:
        assert {s.seq_id for s in running} == set(self._running)
        ids = [*self._running, *self.retained.by_id, *self.retained.free_seq_ids]
        assert sorted(ids) == list(range(self._limits.n_seq_max)), f"ids lost or doubled: {ids}"

    def _stays(self, match: Match, kept: Retained) -> bool:
        """Its conversation goes on, or was edited near its end: nobody else will want the rest. Or
        its stream would be the one to make place."""
        continues = 2 * match.length > len(kept.tokens)
        return continues or (not self.retained.free_seq_ids and self.retained.oldest() is kept)

    def _take_over(self, sequence: Sequence, kept: Retained, length: int) -> None:
        self.retained.drop(kept)
        self.retained.free_seq_ids.remove(kept.seq_id)
        self._enter(sequence, kept.seq_id)
        self._ops.append(Trim(kept.seq_id, length))
        sequence.n_cached = sequence.n_computed = length

    def _enter(self, sequence: Sequence, seq_id: int) -> None:
        sequence.seq_id = seq_id
        self._running[seq_id] = sequence

    def _free_stream(self) -> int | None:
        """The lowest free id: llama.cpp computes streams together only if their ids adjoin."""
        if not self.retained.free_seq_ids:
            oldest = self.retained.oldest()
            if oldest is None:
                return None
            self.retained.drop(oldest)
            self._ops.append(Forget(oldest.seq_id))
        seq_id = min(self.retained.free_seq_ids)
        self.retained.free_seq_ids.remove(seq_id)
        return seq_id
