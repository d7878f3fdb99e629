"""A loaded model changes its layout: a pool of KV cells or a stream for each conversation, with
flash attention or without.

The weights stay. The context is replaced by another one, and past conversations are carried over,
whole, in host memory. That is done while nobody runs or waits; messages that come meanwhile stay in
the inbox. pacing/layouts.py says which layout pays; which ones a plan has beside its own, the
selector has decided. Before the first change of attention both kinds are measured behind the
longest of these conversations: where it doesn't pay after all, the next pause changes back.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from edgellm.errors import EdgellmError
from edgellm.runner.backend import Step
from edgellm.runner.batch import Batch, Copy, Forget, Fork
from edgellm.runner.kv.carrying import Carried
from edgellm.runner.kv.memory import Limits
from edgellm.runner.pacing.depth_trial import LEAST_DEPTH, DepthTrial
from edgellm.runner.pacing.layouts import LayoutChoice
from edgellm.runner.pacing.looks import Part, n_shared
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.sequence import Sequence
from edgellm.selector.plan import Layout, Plan, laid_out, layout_of

_MOST_ALIKE = 16  # steps counted at once: counting takes 20 µs, and a step may take 1 ms
_QUIET_S = 1.0  # without a message, before a change; or as long as that takes
_CARRYING_S = 2.0  # that copying out of the cells may take, as somebody may come meanwhile
_NAMES = {True: "one pool of KV cells", False: "a stream of KV cells for each conversation"}
_PLAINLY = ", without flash attention"


class Changeable(Protocol):
    """A Backend whose context can be made anew on the same model."""

    limits: Limits

    def decode(self, batch: Batch) -> Step: ...

    def hand_out(self, blob: int) -> Any:
        """Take a blob out of this context, for `take_in` after `lay_out`."""
        ...

    def take_in(self, blob: int, payload: Any) -> None: ...

    def try_depth(self, payload: Any, n_tokens: int) -> DepthTrial:
        """Time steps in empty memory, and behind a conversation that was handed out. Empties the
        memory. Raises EdgellmError."""
        ...

    def lay_out(self, plan: Plan) -> None:
        """Raises EdgellmError: there is no context then, until this is called again."""
        ...


class _Longest(NamedTuple):
    payload: Any
    n_tokens: int


@dataclass(slots=True)
class _Alike:
    """Steps in a row, each with one more token of every sequence than the last: all of them count
    like the first."""

    parts: list[Part]
    n_rows: int
    n_decode: int
    n_shared: int
    n_copied: int
    elapsed_s: float
    n_steps: int = 1

    def goes_on(self, batch: Batch) -> bool:
        """Whether this batch is one more of them. (A sequence that begins or ends would bring an
        operation, guesses would bring rows.)"""
        is_plain = not batch.ops and not batch.n_prompt_rows
        is_as_long = len(batch.rows) == self.n_rows == self.n_decode
        return is_plain and is_as_long and self.n_steps < _MOST_ALIKE


class Changing:
    def __init__(
        self,
        backend: Changeable,
        plan: Plan,
        choice: LayoutChoice,
        *,
        begin: Callable[[Plan], Scheduler],
        end: Callable[[], None],
        is_busy: Callable[[], bool],
        clock: Callable[[], float],
        log: Callable[[str], None],
    ) -> None:
        """`begin` makes a scheduler for the backend as this plan lays it out; `end` is called
        before that layout goes. `is_busy`: other threads still need the present one."""
        self.plan, self._backend, self._choice = plan, backend, choice
        self._begin, self._end, self._is_busy = begin, end, is_busy
        self._clock, self._log = clock, log
        self._shared: tuple[frozenset[int], int] = (frozenset(), 0)
        self._seen: _Alike | None = None
        self._trials: tuple[DepthTrial, DepthTrial] | None = None  # before and after a change

    def is_due(self, scheduler: Scheduler) -> bool:
        """Another layout pays, and the present one owes nobody anything. What is still to be copied
        to host memory gets there by the change itself; what is to go to disk must be there first.
        """
        is_done = scheduler.is_at_rest or not scheduler.limits.disk_bytes
        there, is_free = self._choice.better, scheduler.idle and is_done and not self._is_busy()
        return there is not None and is_free and self._can_be_tried(there, scheduler)

    def _can_be_tried(self, there: Layout, scheduler: Scheduler) -> bool:
        """If it is to be: there is a conversation that is long enough."""
        if not self._needs_trial(there):
            return True
        kept = scheduler.memory.retained.oldest_first()
        return any(len(one.tokens) >= LEAST_DEPTH for one in kept)

    def _needs_trial(self, there: Layout) -> bool:
        """Of another kind of attention, which was never tried."""
        here = layout_of(self.plan)
        return not self._choice.has_tried and there.attends_plainly != here.attends_plainly

    def wait_s(self, idle_s: float) -> float:
        """How long the loop may wait for a message before it asks again whether a change is due:
        other threads don't say when they become idle."""
        quiet_s = max(_QUIET_S, self._choice.change_s)
        return min(idle_s, quiet_s) if self._choice.better else idle_s

    def observe(self, batch: Batch, running: dict[int, Sequence], elapsed_s: float) -> None:
        """A step took so long. Called before it is committed."""
        seen = self._seen
        if seen and seen.goes_on(batch):
            seen.elapsed_s += elapsed_s
            seen.n_steps += 1
            return
        self._tell()
        counts = Counter(row.seq_id for row in batch.rows)
        parts = [Part(count, running[seq_id].n_computed) for seq_id, count in counts.items()]
        here = frozenset(one.request_id for one in running.values())
        if here != self._shared[0]:
            self._shared = here, n_shared(one.tokens for one in running.values())
        n_rows = len(batch.rows)
        n_decode, copied = n_rows - batch.n_prompt_rows, _copied(batch, running)
        self._seen = _Alike(parts, n_rows, n_decode, self._shared[1], copied, elapsed_s)

    def _tell(self) -> None:
        if seen := self._seen:
            told = seen.n_shared, seen.n_copied, seen.n_steps
            self._choice.observe(seen.parts, seen.n_decode, seen.elapsed_s, *told)
        self._seen = None

    def change(self, old: Scheduler) -> Scheduler:
        """The scheduler for a better layout. Raises EdgellmError if neither it nor the present one
        can be made any more, which is the worker's end."""
        begun_s, choice, self._seen = self._clock(), self._choice, None
        there = choice.better
        assert there is not None, "nothing is to be changed"
        why = f"of {choice.busy_s:.1f} s it would have saved {choice.saved_s[there]:.1f}"
        carried, payloads = self._carried(old, begun_s)
        self._end()
        is_changed = self._lay_out(there, _longest(carried, payloads))
        new = self._begin(self.plan)
        new.n_drafted, new.n_draft_accepted = old.n_drafted, old.n_draft_accepted
        kept = new.memory.adopt(carried)
        for number, one in kept.items():
            self._backend.take_in(number, payloads.pop(one.blob))
        if is_changed:
            elapsed_s = self._clock() - begun_s
            trial_s = sum(each.elapsed_s for each in self._trials or ())
            choice.changed(there, elapsed_s - trial_s)
            n_kept = f"{len(kept)} conversations kept, in {elapsed_s:.2f} s"
            self._log(f"now {_named(there)}: {why}; {n_kept}")
            self._judge()
        return new

    def _lay_out(self, there: Layout, longest: _Longest | None) -> bool:
        """Whether it could be. Raises EdgellmError."""
        needs_trial = self._needs_trial(there)
        if needs_trial and longest is None:
            self._choice.postpone()  # it was not among those that could be carried
            self._backend.lay_out(self.plan)
            return False
        try:
            here = self._backend.try_depth(*longest) if needs_trial and longest else None
            self._backend.lay_out(laid_out(self.plan, there))
            if here and longest:
                self._trials = here, self._backend.try_depth(*longest)
        except EdgellmError as error:
            self._log(f"no change to {_named(there)}: {error}")
            self._choice.drop(there)
            self._backend.lay_out(self.plan)
            return False
        self.plan = laid_out(self.plan, there)
        return True

    def _judge(self) -> None:
        """By what was measured on the way here."""
        if self._trials is None:
            return
        here, there = self._trials
        is_plain, self._trials = layout_of(self.plan).attends_plainly, None
        self._choice.learn(*((here, there) if is_plain else (there, here)))
        depth, times = here.depth, there.deep_s[1] / here.deep_s[1]
        self._log(f"behind {depth} tokens a step takes {times:.2f} times what it took")

    def _carried(self, old: Scheduler, begun_s: float) -> tuple[list[Carried], dict[int, Any]]:
        """The conversations to carry over, most recently used first, as many as the memory budget
        and the time allow; and what they hold, by blob."""
        found, payloads, n_bytes = list[Carried](), dict[int, Any](), 0
        for one in old.memory.carry():
            try:
                self._backend.decode(Batch(old.take_ops(), (), 0))
            except (EdgellmError, MemoryError) as error:
                self._log(f"what else there was is computed again: {error}")
                break
            payload = self._backend.hand_out(one.blob)
            n_bytes += payload.nbytes
            if n_bytes > self.plan.prefix_ram_bytes:
                break
            found.append(one)
            payloads[one.blob] = payload
            if self._clock() - begun_s > _CARRYING_S:
                break
        return found, payloads


def _longest(carried: list[Carried], payloads: dict[int, Any]) -> _Longest | None:
    """What it holds, and the number of its tokens. None: there is none that is long enough."""
    one = max(carried, key=lambda one: len(one.tokens), default=None)
    if one is None or len(one.tokens) < LEAST_DEPTH:
        return None
    return _Longest(payloads[one.blob], len(one.tokens))


def _named(layout: Layout) -> str:
    return _NAMES[layout.kv_unified] + (_PLAINLY if layout.attends_plainly else "")


def _copied(batch: Batch, running: dict[int, Sequence]) -> int:
    """Tokens that streams would copy for the sequences that begin: where a pool shares them with
    a sequence that stays."""
    gone = {op.seq_id for op in batch.ops if isinstance(op, Forget)}
    forked = [op for op in batch.ops if isinstance(op, Copy | Fork) and op.target in running]
    return sum(op.length for op in forked if op.source not in gone)
