"""Unified KV: one pool of cells; a shared prefix costs a tag.

Running sequences have ids below n_seq_max, retained ones the ids above: llama.cpp sizes its output
buffers by n_seq_max, and a retained sequence has no output. A sequence is admitted only once all
cells are there that it may ever need, because nobody is preempted.

Every step looks at all cells up to the highest that is taken. So a retained sequence leaves the
cells when it makes the steps of others look further. spill.py copies it to the shelf, and back when
it is wanted. Without a shelf it stays until its cells are needed. From a device it is copied only
while nothing runs, or when its cells are needed: an H100 reads a cell of an 8 B model (131 kB) in
40 ns, and takes 35 µs to copy it to the host.
"""

from collections.abc import Iterable, Iterator

from edgellm.runner.batch import Forget, Fork, Op
from edgellm.runner.kv.carrying import Carried
from edgellm.runner.kv.cells import TILE_CELLS, Cells, Lease
from edgellm.runner.kv.copy_budget import CopyBudget
from edgellm.runner.kv.memory import Limits, SharedAnywhere, used_by
from edgellm.runner.kv.prefix import Match, Retained, RetainedStore
from edgellm.runner.kv.spill import Spill
from edgellm.runner.pacing.looking_back import Before
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.sequence import Sequence

_AHEAD = 64  # tokens of each answer that cells are cleared for in advance


class UnifiedMemory(SharedAnywhere):
    def __init__(self, limits: Limits, ops: list[Op], pace: Pace) -> None:
        self._limits, self._ops = limits, ops
        self._cells = Cells(limits.n_cells)
        self._free_seq_ids = list(range(limits.n_seq_max))
        self.retained = RetainedStore(self._retained_ids)
        self._spill: Spill | None = None
        if limits.blob and limits.shelf_bytes:
            self._spill = Spill(limits, self._cells, pace, ops)
        # Retained sequences that are not on the shelf yet, by seq_id, oldest first:
        self._unsaved: dict[int, Retained] = {}
        self._put_off: dict[int, Retained] = {}  # worth copying only while nothing runs
        self._settled = 0  # as long as steps look no further than this, nothing idle is in the way

    @property
    def used(self) -> int:
        return self._cells.used

    @property
    def n_kv(self) -> int:
        return self._cells.n_kv()

    def in_tiles(self, running: Iterable[Sequence]) -> int:
        return self._cells.in_tiles(s.lease for s in running)

    @property
    def shelf_bytes(self) -> int:
        return self._spill.shelf.used_bytes if self._spill else 0

    @property
    def disk_bytes(self) -> int:
        return self._spill.shelf.disk_used_bytes if self._spill else 0

    @property
    def has_chores(self) -> bool:
        return bool(self._unsaved or self._put_off)

    def admit(self, sequence: Sequence, match: Match | None, running: list[Sequence]) -> bool:
        if not self._free_seq_ids:
            return False
        n_matched = match.length if match else 0
        n_forked = n_cached = n_matched
        if self._spill and (found := self._spill.promise(sequence, n_matched)):
            n_forked, n_cached = min(n_matched, found.edges[0].start), found.length
        lease = self._cells.fork(match.source.lease, n_forked) if match and n_forked else Lease()
        leases = [lease, *(s.lease for s in running)]
        need = sequence.n_reserved - n_forked + sum(s.n_reserved for s in running)
        used = used_by(match)
        victims = self._victims(leases, need, used)
        if victims is None or not self._save_all(victims):
            self._cells.release(lease)
            if self._spill:
                self._spill.give_up(sequence)
            return False
        sequence.seq_id, sequence.lease = self._free_seq_ids.pop(0), lease
        if used:
            self.retained.touch(used)
        if match and n_forked:
            self._forked(sequence, match, n_forked)
        for kept in victims:
            if kept.seq_id in self.retained.by_id:
                self._drop(kept)
        sequence.n_cached, sequence.n_restored = n_cached, n_cached - n_forked
        sequence.n_loaded = min(sequence.n_loaded, sequence.n_restored)
        self.stop_waiting(sequence)  # it waits for the disk no longer
        self._settled = 0
        return True

    def n_coming_back(self, sequence: Sequence, n_here: int) -> int:
        return self._spill.find(sequence, n_here).length if self._spill else 0

    def must_fetch(self, sequence: Sequence, n_here: int) -> bool:
        return self._spill.must_fetch(sequence, n_here) if self._spill else False

    def fetched(self, blob: int, elapsed_s: float | None) -> None:
        if self._spill:
            self._spill.fetched(blob, elapsed_s)

    def stop_waiting(self, sequence: Sequence) -> None:
        if self._spill:
            self._spill.stop_waiting(sequence)

    def begin(self, running: list[Sequence]) -> None:
        if self._spill:
            self._spill.budget.begin(len([s for s in running if s.n_output]))

    def copy(self, running: list[Sequence]) -> None:
        if self._spill is None:
            return
        if running:
            if not any(s.n_output for s in running):
                pending = sum(s.n_pending for s in running)
                depth = sum(s.n_computed for s in running) / len(running)
                in_tiles = self.in_tiles(running)
                before = Before(depth, in_tiles, in_tiles)
                self._spill.budget.beside_prompt(min(pending, self._limits.n_batch), before)
            self._make_way(running)
        for sequence in running:
            if sequence.restoring:
                self._spill.restore(sequence)
        if running and self._limits.on_device:
            return
        if not running and self._put_off:
            self._unsaved, self._put_off = self._put_off | self._unsaved, {}
        for kept in list(self._unsaved.values()):
            if not self._save(kept):
                break

    def observe(self, elapsed_s: float) -> None:
        if self._spill:
            self._spill.budget.observe(elapsed_s)

    def grow(self, sequence: Sequence, count: int) -> None:
        self._cells.append(sequence.lease, count)

    def leave(self, sequence: Sequence) -> None:
        seq_id = sequence.seq_id
        if self._spill:
            self._spill.give_up(sequence)
        if sequence.n_computed and self._limits.shares_prefixes and self._can_retain():
            lease, sequence.lease = sequence.lease, Lease()
            tokens = sequence.tokens[: sequence.n_computed]
            kept = self.retained.add(tokens, lease, sequence.n_prompt, sequence.adapters)
            self._ops.append(Fork(seq_id, kept.seq_id, sequence.n_computed))
            if self._spill:
                self._unsaved[kept.seq_id] = kept
        else:
            self._cells.release(sequence.lease)
        self._ops.append(Forget(seq_id))
        self._free_seq_ids.append(seq_id)
        self._free_seq_ids.sort()
        self._settled = 0

    def forget_retained(self) -> None:
        while kept := self.retained.oldest():
            self._drop(kept)

    def carry(self) -> Iterator[Carried]:
        if self._spill is None:
            return
        carried: list[Carried] = []
        for kept in self.retained.oldest_first()[::-1]:
            if one := self._spill.whole(kept):
                carried.append(one)
                yield one
        self.forget_retained()  # the shelf's pieces are put together in the cells
        yield from self._spill.carry(carried)

    def adopt(self, carried: list[Carried]) -> dict[int, Carried]:
        return self._spill.shelf.take_over(carried) if self._spill else {}

    def check(self, running: list[Sequence]) -> None:
        ids = [*(s.seq_id for s in running), *self._free_seq_ids]
        assert sorted(ids) == list(range(self._limits.n_seq_max)), f"ids lost or doubled: {ids}"
        kept = [*self.retained.by_id, *self.retained.free_seq_ids]
        assert sorted(kept) == list(self._retained_ids)
        promised = self._cells.used + sum(s.n_reserved for s in running)
        assert promised <= self._cells.n_cells, f"{promised} of {self._cells.n_cells} cells"
        assert all(s.lease.length == s.n_computed for s in running)
        assert self._unsaved.keys() | self._put_off.keys() <= self.retained.by_id.keys()
        if self._spill:
            self._spill.check(running)

    @property
    def _retained_ids(self) -> range:
        return range(self._limits.n_seq_max + self._limits.n_scratch, self._limits.n_ids)

    def _victims(
        self, leases: list[Lease], need: int, last: Retained | None
    ) -> list[Retained] | None:
        """Which retained sequences have to go so that there are `need` cells beside `leases`;
        `last` goes after all others. None: it wouldn't be enough if all of them went."""
        if self._cells.used + need <= self._cells.n_cells:
            return []
        kept = self.retained.oldest_first(last)
        for n in range(1, len(kept) + 1):
            stays = self._cells.held_by([*leases, *(each.lease for each in kept[n:])])
            if stays + need <= self._cells.n_cells:
                return kept[:n]
        return None  # then nobody is dropped in vain

    def _make_way(self, running: list[Sequence]) -> None:
        """Idle sequences leave the cells if they make the next steps look further, the least recent
        first. Scattered ones go last: their holes are where the next tokens will lie. Before a long
        prompt, which would lie above them, they go in a hurry."""
        if not self.retained.by_id:
            return
        ahead = sum([min(s.n_reserved, s.n_pending + _AHEAD) for s in running])
        looked_at = self._cells.n_kv(ahead)
        if looked_at <= self._settled:
            return
        least = self._cells.n_kv(ahead, only=[s.lease for s in running])
        if self._spill and looked_at > least and self._must_hurry(running, self._spill.budget):
            self._spill.budget.hurry()
        for kept in sorted(self.retained.by_id.values(), key=self._is_scattered):
            if looked_at <= least:
                break
            if not self._limits.on_device and not self._save(kept):
                return  # it goes on in the next step
            if self._spill and self._spill.is_saved(kept):
                self._drop(kept)
                looked_at = self._cells.n_kv(ahead)
        self._settled = looked_at

    def _must_hurry(self, running: list[Sequence], budget: CopyBudget) -> bool:
        """Every row is computed with all cells, or nobody reads along and it pays."""
        if not self._limits.masks_cells:
            return True
        n_pending = sum(s.n_pending for s in running if not s.restoring)
        return not any(s.n_output for s in running) and budget.is_worth_hurrying(n_pending)

    def _is_scattered(self, kept: Retained) -> bool:
        """It lies in more than twice as many tiles as it would need."""
        return self._cells.in_tiles((kept.lease,)) > 2 * max(kept.lease.length, TILE_CELLS)

    def _save_all(self, victims: list[Retained]) -> bool:
        if victims and self._spill:
            self._spill.budget.hurry()
        saved = [self._save(kept) for kept in victims]
        return all(saved)

    def _save(self, kept: Retained) -> bool:
        """Copy to the shelf as much as this step may. False: the rest is for later steps."""
        if self._spill is None:
            return True
        done = self._spill.save(kept)
        if done and kept.seq_id in self._unsaved:
            del self._unsaved[kept.seq_id]
            if self._spill.budget.is_awaited and not self._spill.is_saved(kept):
                self._put_off[kept.seq_id] = kept
        return done

    def _forked(self, sequence: Sequence, match: Match, length: int) -> None:
        source = match.source
        sequence.n_computed = length
        self._ops.append(Fork(source.seq_id, sequence.seq_id, length))
        if isinstance(source, Retained) and length == len(source.tokens):
            self._drop(source)  # continued whole: nothing of its own is left

    def _can_retain(self) -> bool:
        """Whether there is an id for one more. Another retained sequence may have to go for it."""
        kept, spill = list(self.retained.by_id.values()), self._spill
        if kept and not self.retained.free_seq_ids:
            victim = kept[0]
            if not self._limits.on_device:
                self._save(victim)
            elif spill:
                victim = next((one for one in kept if spill.is_saved(one)), victim)
            self._drop(victim)
        return bool(self.retained.free_seq_ids)

    def _drop(self, kept: Retained) -> None:
        self._cells.release(kept.lease)
        self.retained.drop(kept)
        self._unsaved.pop(kept.seq_id, None)
        self._put_off.pop(kept.seq_id, None)
        self._ops.append(Forget(kept.seq_id))
