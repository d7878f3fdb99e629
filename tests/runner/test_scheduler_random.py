"""Random histories of every kind of memory: what may go wrong in a step goes wrong in some.

Requests come with adapters, pictures, deadlines, priorities and too little context; they are
cancelled wherever they are; guesses of a draft model come true or don't; the backend finds no slot,
the disk is full, and its files vanish while somebody waits for them.
"""

import random
from dataclasses import replace

import pytest
from runner_fakes import FakeBackend, next_token, shade
from state_fakes import StatefulBackend
from state_runs import HYBRID, RECURRENT, STREAM, WINDOW

from edgellm.chat.messages import Claim, GenerateParams
from edgellm.errors import ContextTooLong
from edgellm.runner.backend import NoKVSlot, Step
from edgellm.runner.batch import DRAFTED, Batch, Copy, Fork, Op, RestoreAll, Row, Store, Trim
from edgellm.runner.drafting.speculation import rows_computed
from edgellm.runner.intake.pictures import PictureRows, placed, row_ids
from edgellm.runner.intake.positions import Positions
from edgellm.runner.kv.edge import BlobSize
from edgellm.runner.kv.memory import Limits
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence

KINDS = {
    "unified": None, "split": None, "sliding": WINDOW, "sliding, split": WINDOW, "hybrid": HYBRID,
    "hybrid, split": HYBRID, "recurrent": RECURRENT, "split, copied": STREAM,
}  # fmt: skip
SETS = ((), (), ((1, 0.5),), ((1, 0.5), (2, 0.25)))
# Rows of pictures that take one position together; so many times this as they are. No other token
# is as low, whatever adapters make of it.
SQUEEZED = -(1 << 40)
MOST_STEPS = 4000  # to the end of all that came; hundreds are enough where nobody starves


class Misfortunes:
    """A fake with bad luck, and a draft model that is right at times."""

    def begin(self, rng: random.Random) -> None:
        self.positions = Positions()
        self.rng, self.lost = rng, set[bytes]()  # keys of files that should be there
        self.no_slot, self.full = rng.choice((0, 0.02)), rng.choice((0, 0.1, 0.5))
        self.adapters = {1: b"one", 2: b"two"}

    def _obey(self, op: Op) -> None:
        """What has fewer positions than rows must be counted wherever something is cut."""
        (put,) = self.positions.put(Batch((op,), (), 0)).ops
        if isinstance(op, Trim | Fork | Copy):
            held = self.cells[op.seq_id if isinstance(op, Trim) else op.source]
            rows = [round(token / SQUEEZED) for token, _ in held[: op.length] if token <= SQUEEZED]
            is_whole = rows and len(rows) == rows[0]  # who was cancelled may have ended in it
            assert op.length - put.length == (rows[0] - 1 if is_whole else 0)
        super()._obey(op)

    def decode(self, batch: Batch) -> Step:
        for op in batch.ops:
            self._obey(op)
        if batch.rows and self.rng.random() < self.no_slot:
            raise NoKVSlot("of the memory as it was before the rows")
        return self.again(replace(batch, ops=()))

    def again(self, batch: Batch) -> Step:
        rows, n_drafted = self._drafted(batch)
        step = super().decode(replace(batch, rows=rows))
        return replace(step, n_drafted=n_drafted if self.limits.has_draft_model else None)

    def _drafted(self, batch: Batch) -> tuple[tuple[Row, ...], dict[int, int]]:
        rows: list[Row] = []
        n_drafted: dict[int, int] = {}
        for row in batch.rows:
            if row.token != DRAFTED:
                rows.append(row)
                continue
            n_drafted.setdefault(row.seq_id, 0)
            has_stopped = (rows[-1].seq_id, rows[-1].pos) != (row.seq_id, row.pos - 1)
            if not has_stopped and self.rng.random() < 0.8:
                rows.append(Row(row.seq_id, row.pos, self._guess(batch, rows), True))
                n_drafted[row.seq_id] += 1
        return tuple(rows), n_drafted

    def _guess(self, batch: Batch, rows: list[Row]) -> int:
        """Of the token after the last row."""
        seq_id = rows[-1].seq_id
        held = [token for token, _ in self.cells.get(seq_id, [])]
        own = [row.token + shade(batch.adapters) for row in rows if row.seq_id == seq_id]
        return next_token(held + own) if self.rng.random() < 0.7 else 3

    def _file(self, op: Op) -> None:
        if isinstance(op, Store) and self.rng.random() < self.full:
            self.lost.add(op.stored.key)
        elif isinstance(op, Store) and op.stored.parent in self.lost:
            self.files[op.stored.key] = (op.stored, self.blobs[op.blob][1])
        elif getattr(op, "key", None) in self.lost and op.key not in self.files:
            self._of_what_is_not_there(op)
        else:
            super()._file(op)

    def _of_what_is_not_there(self, op: Op) -> None:
        if hasattr(op, "blob"):
            self.fetches.append((op.blob, op.key))
        else:
            self.lost.discard(op.key)

    def read(self) -> tuple[int, float | None]:
        """What was asked for first, if it is still there and can be read."""
        if self.files and self.rng.random() < 0.1:
            self.lost.add(key := self.rng.choice(list(self.files)))
            del self.files[key]
        return self.fetch(ok=self.fetches[0][1] in self.files and self.rng.random() < 0.9)


class Plain(Misfortunes, FakeBackend):
    pass


class Stateful(Misfortunes, StatefulBackend):
    def _copy(self, op: Op) -> None:
        """The tokens of what comes back are told without the adapters that changed it."""
        if isinstance(op, RestoreAll):
            held = self._held()[op.blob]
            shades = {cell - told for cell, told in zip(held, op.tokens, strict=True)}
            assert len(shades) == 1, "not what it holds"
            op = replace(op, tokens=tuple(held))
        super()._copy(op)

    def _cut(self, seq_id: int, length: int) -> None:
        """A window can go back by the guesses of a step."""
        super()._cut(seq_id, length)
        state = self.states.get(seq_id)
        if state and not self.limits.state.has_rows:
            n_back = len(state) - length
            self.states[seq_id] = state[:length] if n_back <= self.limits.n_draft_rows else None


def random_limits(rng: random.Random, kind: str) -> Limits:
    unified, state = "split" not in kind, KINDS[kind]
    n_seq, n_ctx = rng.choice((1, 2, 3, 8)), rng.choice((16, 60, 150, 300))
    n_cells = rng.choice((n_ctx, 2 * n_ctx)) if unified else n_ctx * n_seq
    if kind == "recurrent":  # nothing that could run out: a row for each id
        n_cells = n_ctx * n_seq
    n_batch, n_chunk, n_aside = max(n_seq, rng.choice((1, 2, 3, 8, 64))), None, 0
    more = {}
    if not unified and rng.random() < 0.4:
        n_chunk = rng.choice((1, 2, 8, 16))
        n_batch = n_chunk + n_seq
    elif not (state and state.has_rows) and rng.random() < 0.5:
        more |= {"n_draft_rows": rng.choice((1, 3, 8)), "has_draft_model": rng.random() < 0.5}
    if kind in ("sliding", "recurrent"):
        n_aside = rng.choice((1, 3, 16))
    if kind == "unified":
        n_aside = rng.choice((0, 1, 8, 40))
        more |= {
            "blob": BlobSize(rng.choice((0, 7)), 1), "n_scratch": 1,
            "shelf_bytes": rng.choice((60, 200, 1000, 100_000)), "on_device": rng.random() < 0.4,
        }  # fmt: skip
    if state:
        budget_bytes = rng.choice((0, 100, 2000, 20_000))
        more["state"] = replace(
            state, budget_bytes=budget_bytes, fixed_bytes=state.row_bytes, full_cell_bytes=2
        )
    if kind != "split":
        more["disk_bytes"] = rng.choice((0, 300, 2000, 100_000))
    return Limits(
        n_cells=n_cells, n_ctx_seq=n_ctx, n_batch=n_batch, n_seq_max=n_seq,
        n_ids=n_seq + more.get("n_scratch", 0) + n_aside, shares_prefixes=rng.random() < 0.9,
        unified=unified, n_chunk=n_chunk, turn_ends=frozenset({49}), **more,
    )  # fmt: skip


class Life:
    def __init__(self, rng: random.Random, limits: Limits) -> None:
        self.rng, self.limits, self.now_s = rng, limits, 0.0
        seconds = {n: (1 + 0.01 * n) * 0.01 for n in range(1, 9)}
        self.pace = Pace(
            rng.choice((None, 0.02)), StepCosts(seconds) if rng.random() < 0.7 else None
        )
        self.scheduler = Scheduler(limits, self.pace)
        self.backend = (Stateful if limits.state else Plain)(limits)
        self.backend.begin(rng)
        self.asked: dict[int, Sequence] = {}
        self.told: dict[int, list[int]] = {}
        self.ended: set[int] = set()

    def ask(self, prompt: list[int], pictures=()) -> None:
        rng, number = self.rng, len(self.asked)
        late_s = self.now_s + rng.random() * rng.choice((0.05, 3))
        claim = Claim(
            key=rng.choice("ab"), priority=rng.choice((0, 0, 3)),
            deadline_s=late_s if rng.random() < 0.15 else None,
        )  # fmt: skip
        params = GenerateParams(
            cache_prompt=rng.random() < 0.9, adapters=rng.choice(SETS), claim=claim
        )
        n_max = len(prompt) + rng.choice((1, 2, 5, 12, 30))
        sequence = Sequence(number, list(prompt), n_max, params, self.now_s, pictures=pictures)
        try:
            self.scheduler.add(sequence)
        except ContextTooLong:
            assert len(prompt) >= min(self.limits.n_ctx_seq, self.limits.n_cells)
        else:
            self.asked[number], self.told[number] = sequence, []

    def cancel_one(self) -> None:
        if self.asked.keys() > self.ended:
            number = self.rng.choice(sorted(self.asked.keys() - self.ended))
            self.end(self.scheduler.cancel(number))
            self.scheduler.check()

    def end(self, sequence: Sequence) -> None:
        number, told = sequence.request_id, self.told[sequence.request_id]
        assert number not in self.ended, "it ended twice"
        self.ended.add(number)
        text = [token + shade(sequence.adapters) for token in sequence.tokens[: sequence.n_prompt]]
        for token in told:
            assert token == next_token(text), f"{number}: {sequence.finish_reason}"
            text.append(token + shade(sequence.adapters))
        assert sequence.finish_reason != "length" or len(sequence.tokens) == sequence.n_max

    def step(self) -> bool:
        self.now_s += 0.01
        for sequence in self.scheduler.waiting.overdue(self.now_s):
            self.scheduler.finish(sequence, "deadline")
            self.end(sequence)
        batch = self.scheduler.schedule()
        if batch is None:
            assert self.scheduler.awaits_message, "the loop would go round and round"
            return False
        step = self._decode(batch)
        self.scheduler.memory.observe(self.rng.choice((0.0001, 0.01)))
        if batch.rows:
            self._commit(batch, step)
        self.scheduler.check()
        return True

    def _decode(self, batch: Batch) -> Step:
        try:
            return self.backend.decode(batch)
        except NoKVSlot:
            relief = self.scheduler.relieve(batch) or replace(batch, ops=())
        for op in relief.ops:
            self.backend._obey(op)
        return self.backend.again(replace(relief, ops=()))

    def _commit(self, batch: Batch, step: Step) -> None:
        elapsed_s = (0.01 + 0.001 * len(batch.rows)) * self.rng.choice((1, 1, 3))
        n_decoded = rows_computed(batch, step) + len(batch.padding) - batch.n_prompt_rows
        self.pace.observe(batch.n_prompt_rows, n_decoded, elapsed_s)
        self.scheduler.speculation.observe(batch, step, elapsed_s)
        for output in self.scheduler.commit(batch, step.sampled, step.n_drafted):
            sequence = output.sequence
            self.told[sequence.request_id].append(output.token)
            if not sequence.finish_reason and self.rng.random() < 0.02:
                self.scheduler.finish(sequence, "stop")
            if sequence.finish_reason:
                self.end(sequence)
        self.scheduler.budget.turns.observe(elapsed_s)

    def read(self) -> None:
        if self.backend.fetches:
            self.scheduler.memory.fetched(*self.backend.read())
            self.scheduler.check()

    def finish(self) -> None:
        for _ in range(MOST_STEPS):
            if self.scheduler.idle and self.scheduler.is_at_rest and not self.backend.fetches:
                break
            if not self.step() or self.rng.random() < 0.5:
                self.read()
        assert self.ended == self.asked.keys(), "somebody starves"
        for op in self.scheduler.take_ops():
            self.backend._obey(op)
        self._check_what_stays()

    def _check_what_stays(self) -> None:
        memory, backend = self.scheduler.memory, self.backend
        assert not backend.started
        if self.limits.state:
            assert set(backend.checkpoints) == {
                point.blob for chain in memory._points._chains.values() for point in chain
            }
            away = getattr(memory, "_away", {}).values()
            assert set(backend.wholes) == {copied.blob for copied in away}
            assert memory._points.held_bytes == getattr(memory, "_away_bytes", 0)
        elif self.limits.unified:
            assert memory.used == backend.used_cells
            edges = memory._spill.shelf._edges.values()
            assert set(backend.blobs) == {edge.blob for edge in edges if edge.in_ram}
            assert backend.files.keys() | backend.lost >= {one.key for one in edges if one.on_disk}
            assert backend.files.keys() <= {edge.key for edge in edges if edge.on_disk}


def beginning(rng: random.Random, life: Life) -> list[int]:
    """As somebody before has begun, mostly; of any length."""
    before = [one.tokens for one in life.asked.values() if not one.pictures][-20:]
    tokens = rng.choice([*before, rng.choices(range(3, 50), k=rng.randint(1, 150))])
    most = rng.choice((life.limits.n_ctx_seq - 3, len(tokens), rng.randint(1, len(tokens))))
    return [*tokens[:most], *rng.choices(range(3, 50), k=rng.choice((0, 1, 3, 30)))] or [5]


def with_a_picture(rng: random.Random, life: Life):
    """A new one, or one that was asked about before."""
    before = [one for one in life.asked.values() if one.pictures]
    if before and rng.random() < 0.7:
        one = rng.choice(before)
        least = max(one.pictures[-1].end, len(one.tokens) // 2)
        tokens = one.tokens[: rng.randint(least, len(one.tokens))]
        return [*tokens, *rng.choices(range(3, 50), k=rng.randint(1, 30))], one.pictures
    prompt = beginning(rng, life)
    n_rows, cut = rng.randint(2, 8), rng.randint(1, len(prompt))
    ids = row_ids(bytes([n_rows % 3]), 0, n_rows)
    if rng.random() < 0.5:
        picture = PictureRows(ids, None, 0)
    else:
        squeezed = tuple(n_rows * SQUEEZED - (i << 20) for i in range(n_rows))
        picture = PictureRows(squeezed, None, 0, places=object(), n_positions=1)
    return placed([tuple(prompt[:cut]), picture, tuple(prompt[cut:]) or (7,)])


@pytest.mark.parametrize("kind", KINDS)
def test_no_misfortune_costs_a_right_answer_an_ending_a_cell_or_a_blob(kind):
    for seed in range(25):
        rng = random.Random(f"{kind} {seed}")
        life = Life(rng, random_limits(rng, kind))
        can_see = not life.limits.n_chunk and not life.limits.has_draft_model
        for _ in range(25):
            for _ in range(rng.choice((0, 1, 1, 2, 5))):
                sees = can_see and rng.random() < 0.3
                life.ask(*(with_a_picture(rng, life) if sees else (beginning(rng, life),)))
            if rng.random() < 0.3:
                life.cancel_one()
            for _ in range(rng.choice((0, 1, 2, 6, 15))):
                life.step()
                if rng.random() < 0.4:
                    life.read()
        life.finish()
