"""A model whose sequences carry a state, as strict as llama.cpp is not: it would go on in silence.

The state of a sequence is all the text that went through it. A fork brings none of it, a resume
brings that of its checkpoint, and a row is computed only where state and cells say the same.
"""

from runner_fakes import FakeBackend

from edgellm.runner.batch import (
    Batch,
    Blank,
    Checkpoint,
    Copy,
    Discard,
    Erase,
    Fetch,
    Forget,
    Fork,
    Op,
    RestoreAll,
    Resume,
    SaveAll,
    Store,
    Trim,
)
from edgellm.runner.kv.prefix_file import chain_key


class StatefulBackend(FakeBackend):
    def __init__(self, limits):
        super().__init__(limits)
        self.states: dict[int, list[int] | None] = {}  # by seq_id; None: a window without a text
        self.checkpoints: dict[int, list[int]] = {}  # by blob
        self.lowest: dict[int, int] = {}  # by seq_id: the first token that its window has for sure
        self.wholes: dict[int, list[int]] = {}  # by blob
        self.n_resumed = 0

    def fetch(self, *, ok: bool = True) -> tuple[int, float | None]:
        blob, key = self.fetches.pop(0)
        if not ok:
            return blob, None
        _, text = self.files[key]
        self._held()[blob] = list(text)
        return blob, 0.001

    def _held(self) -> dict[int, list[int]]:
        """What files hold of this kind of model."""
        return self.wholes if self.limits.state.has_cells else self.checkpoints

    @property
    def used_cells(self) -> int:
        return super().used_cells if self.limits.state.has_cells else 0

    @property
    def checkpoint_bytes(self) -> int:
        size = self.limits.state.checkpoint_bytes
        return sum(size(len(text)) for text in self.checkpoints.values())

    def _obey(self, op: Op) -> None:
        self.last_read.heed(op)
        match op:
            case Checkpoint(source, blob):
                state = self.states[source]
                assert state, f"seq {source} has no state to copy out"
                assert blob not in self.checkpoints, f"blob {blob} is written twice"
                self.checkpoints[blob] = list(state)
                assert self.checkpoint_bytes <= self.limits.state.budget_bytes
            case Resume(blob, target):
                self._resume(target, list(self.checkpoints[blob]))
            case Blank(source):
                assert self.limits.state.n_window, "there is no window"
                assert not self.limits.state.has_rows, "a recurrent state can't be blanked"
                self.states[source] = None
            case SaveAll() | RestoreAll() | Discard():
                self._copy(op)
            case Fork(_, target, _) | Copy(_, target, _):
                assert self.limits.state.has_cells, "there is nothing to fork"
                super()._obey(op)
                self._lose(target, None)
            case Trim(seq_id, length):
                super()._obey(op)
                self._cut(seq_id, length)
            case Forget(seq_id):
                super()._obey(op)
                self._lose(seq_id, [])
            case _:
                super()._obey(op)

    def _copy(self, op: Op) -> None:
        match op:
            case SaveAll(source, blob):
                assert blob not in self.wholes | self.checkpoints, f"blob {blob} is written twice"
                held = [token for token, _ in self.cells[source]]
                assert self.states[source] == held, f"seq {source}: another state"
                self.wholes[blob] = held
            case RestoreAll(blob, target, tokens):
                assert not self.cells.get(target), f"seq {target} is not empty"
                held = self._held()[blob]
                assert [*tokens] == held, "not what it holds"
                self._can_hold(target)
                self.states[target], self.cells[target] = list(held), []
                self._saw(target, len(held), 0)
                self._fill(target, held)
            case Discard(blob):
                del (self.wholes if blob in self.wholes else self.checkpoints)[blob]

    def _file(self, op: Store | Fetch | Erase) -> None:
        match op:
            case Store(blob, stored):
                text = list(self._held()[blob])
                assert (stored.start, stored.tokens) == (len(text), ())
                assert stored.parent == chain_key(b"", text)
                assert stored.key not in self.files, "it is there already"
                self.files[stored.key] = (stored, text)
            case Fetch(blob, key):
                assert key in self.files, "it was erased"
                self.fetches.append((blob, key))
            case Erase(key):
                del self.files[key]

    def _resume(self, target: int, state: list[int]) -> None:
        self._can_hold(target)
        self.states[target] = state
        self._saw(target, len(state), 0)
        self.n_resumed += 1
        if not self.limits.state.has_cells:
            self.cells[target] = []
            self._fill(target, state)

    def _cut(self, seq_id: int, length: int) -> None:
        state = self.states.get(seq_id, [])
        if self.limits.state.is_nothing:
            self.states[seq_id] = (state or [])[:length]
        elif self.limits.state.has_rows:
            assert state is not None
            assert len(state) <= length, "a recurrent state can't be cut back"
        elif state and len(state) > length:
            first = max(0, length + 1 - self.limits.state.n_window)
            assert self.lowest[seq_id] <= first, f"seq {seq_id}: its window begins later"
            self.states[seq_id] = state[:length]

    def _lose(self, seq_id: int, state: list[int] | None) -> None:
        if self.limits.state.has_rows:
            self._can_hold(seq_id)
        if self.limits.state.is_nothing:  # its cells are all that it has
            state = [token for token, _ in self.cells.get(seq_id, [])]
        self.states[seq_id] = state
        self.lowest[seq_id] = 0

    def _saw(self, seq_id: int, length: int, lowest: int) -> None:
        self.lowest[seq_id] = max(lowest, length - self.limits.state.n_window)

    def _reuse(self, seq_ids: set[int]) -> None:
        """Before rows are computed: what no later row can see is free for them, in one pool for
        everybody's."""
        for seq_id, state in self.states.items():
            if state and (self.limits.unified or seq_id in seq_ids):
                self._saw(seq_id, len(state) + 1, self.lowest.get(seq_id, 0))

    def _can_hold(self, seq_id):
        assert seq_id < self.limits.n_seq_max, f"there is no row for seq {seq_id}"

    def _compute(self, batch: Batch):
        seq_ids = {row.seq_id for row in batch.rows}
        for seq_id in seq_ids:
            self._can_hold(seq_id)
            held = [token for token, _ in self.cells.get(seq_id, [])]
            assert self.states.setdefault(seq_id, []) == held, f"seq {seq_id}: another state"
        self._reuse(seq_ids)
        sampled = super()._compute(batch)
        for seq_id in seq_ids:
            self.states[seq_id] = [token for token, _ in self.cells[seq_id]]
        windows = [seq_id for seq_id, state in self.states.items() if state]
        assert all(seq_id < self.limits.n_seq_max for seq_id in windows), "a window is pinned"
        return sampled
