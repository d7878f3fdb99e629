"""Would what has run have run faster in another layout of the KV cells? Pure: it is told.

In a pool, a prefix that several conversations share is stored once, and sharing costs nothing; but
every row passes over the cells of all others. With a stream for each, a row looks at its own cells
only, but what is shared has to be copied. Without flash attention, in either, a step costs more at
the beginning of conversations, and less when they are long. So the load decides, and it is known
only as it comes.

Of each step what it passes in memory is counted (looks.py), for the layout that it ran in and for
the others. The time that the step took beyond what its rows take in empty memory (as rehearsed)
went into looking back, and would have been longer or shorter in another layout in proportion. What
attention of the other kind costs is believed at first, so that it is tried where it may well pay;
it is measured then (depth_trial.py), and what ran lately is counted again by the truth. The sums
forget: after so many seconds of work, what was seen counts half.

A change pays if it would have saved a good part of the time, and several times its own cost. Since
loads may alternate, whoever changed and lost by it has to be twice as sure the next time.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.depth_trial import LEAST_DEPTH, DepthTrial
from edgellm.runner.pacing.looks import LookCost, Part, attention_of
from edgellm.selector.plan import Layout, Plan, laid_out, layout_of

# In looks of flash attention. Of its own, reading the cell for all rows is a third.
_FLASH, _PLAIN = LookCost(0.35, 0.65), LookCost(0.45, 0.08)  # the latter: 0.6 B, EPYC
_PLAIN_ROWS_RATIO = 1.15  # of a step on empty memory, over the same with flash attention
_LEAST_DEPTH = 200  # looks that a row's own cost is worth, at least: more time than that is noise
_WORTH_RATIO = 0.1  # of the time that was seen must be saved,
_TIMES, _MOST_TIMES = 4.0, 64.0  # and so many times what a change costs
_TRIED_TIMES = 1.0  # after a trial, which nobody was sure of
_HALF_S = 60.0  # of work, after which what was seen counts half
_N_RECENT = 256  # observations that a trial is judged by
_COPIED_BYTE_S = 3.5e-10  # from stream to stream; 0.6 B, f16, 15 copies of 2,000 tokens
_LAID_OUT_BYTE_S = 5e-10  # of all cells, which are zeroed; until a change was measured
_LEAST_CHANGE_S = 0.3


class _Seen(NamedTuple):
    """Steps that ran in one layout; see LayoutChoice.observe."""

    layout: Layout
    parts: Sequence[Part]
    n_decode: int
    elapsed_s: float
    n_shared: int
    n_copied: int
    n_steps: int


class LayoutChoice:
    """Begins with a plan's layout, and is told of each change."""

    def __init__(self, plan: Plan, rows: StepCosts, cell_bytes: int, kv_bytes: int) -> None:
        """`rows`: what steps take in empty memory, as the plan begins. `cell_bytes`: of one token;
        `kv_bytes`: of all."""
        self.here = self._first = layout_of(plan)
        self._left: Layout | None = None  # before the last change
        self._led_here_s = 0.0  # what had been computed lately then
        self._layouts = (self.here, *plan.other_layouts)
        plans = (plan, *(laid_out(plan, there) for there in plan.other_layouts))
        # By whether it is without flash attention:
        kinds = (layout.attends_plainly for layout in self._layouts)
        self._attention = {kind: attention_of(one) for kind, one in zip(kinds, plans, strict=True)}
        self._cost, self._look_s = {False: _FLASH, True: _PLAIN}, 0.0
        self._rows, self._rows_ratio = rows, {1: _PLAIN_ROWS_RATIO}
        self._copy_s = cell_bytes * _COPIED_BYTE_S
        self.change_s = _LEAST_CHANGE_S + kv_bytes * _LAID_OUT_BYTE_S
        self._times = _TIMES
        self._recent: deque[_Seen] = deque(maxlen=_N_RECENT)
        self.has_tried = False  # what both kinds of attention cost is measured
        self.busy_s = 0.0  # computed lately
        self.saved_s: dict[Layout, float] = {}  # by each other layout, of it
        self._forget()

    @property
    def better(self) -> Layout | None:
        """The one that is clearly better for what has run lately."""
        there, saved_s = max(self.saved_s.items(), key=lambda one: one[1], default=(None, 0.0))
        is_much = saved_s > _WORTH_RATIO * self.busy_s
        return there if is_much and saved_s > self._times * self.change_s else None

    def observe(
        self,
        parts: Sequence[Part],
        n_decode: int,
        elapsed_s: float,
        n_shared: int,
        n_copied: int,
        n_steps: int = 1,
    ) -> None:
        """`n_steps` steps, each with these parts and `n_decode` rows with logits, took `elapsed_s`
        together. `n_copied`: tokens that streams copy from one another for the sequences that began
        with the first of these steps."""
        seen = _Seen(self.here, parts, n_decode, elapsed_s, n_shared, n_copied, n_steps)
        self._recent.append(seen)
        self._count(seen)
        if self._left and -self.saved_s.get(self._left, 0.0) > self._times * self.change_s:
            self._times = _TIMES  # the last change has proved right

    def changed(self, there: Layout, elapsed_s: float) -> None:
        """The layout was changed, which took so long."""
        self._left, self.here, self._led_here_s = self.here, there, self.busy_s
        self.change_s = max(elapsed_s, _LEAST_CHANGE_S)
        self._times = min(max(_TIMES, 2 * self._times), _MOST_TIMES)
        self._forget()

    def drop(self, there: Layout) -> None:
        """It can't be had."""
        self._layouts = tuple(one for one in self._layouts if one != there)
        kept = (seen for seen in self._recent if seen.layout != there)
        self._recent = deque(kept, maxlen=_N_RECENT)
        self._forget()

    def postpone(self) -> None:
        """A change could not be made now."""
        self._times = min(2 * self._times, _MOST_TIMES)
        self._forget()

    def learn(self, flash: DepthTrial, plain: DepthTrial) -> None:
        """What both kinds of attention cost, measured one right after the other, the present one
        last. Where it was not borne out by this, the way back is open at once."""
        trials = {False: flash, True: plain}
        costs = {kind: trial.cost(self._attention[kind]) for kind, trial in trials.items()}
        unit_s = sum(costs[False])
        if not unit_s:
            return  # it is so noisy that nothing can be told
        self.has_tried, self._look_s = True, unit_s
        self._cost = {kind: cost.times(1 / unit_s) for kind, cost in costs.items()}
        sizes = flash.empty_s.keys() & plain.empty_s.keys()
        self._rows_ratio = {n: plain.empty_s[n] / flash.empty_s[n] for n in sizes}
        self._forget()
        for seen in self._recent:
            self._count(seen)
        if self.busy_s:  # what ran last stands for all that has led here
            times = max(1.0, self._led_here_s / self.busy_s)
            self.busy_s *= times
            self.saved_s = {there: saved_s * times for there, saved_s in self.saved_s.items()}
        if self._left and self.saved_s.get(self._left, 0.0) > 0:
            self._times = _TRIED_TIMES

    def _forget(self) -> None:
        others = (one for one in self._layouts if one != self.here)
        self.busy_s, self.saved_s = 0.0, dict.fromkeys(others, 0.0)

    def _count(self, seen: _Seen) -> None:
        taken_s = self._taken_s(seen)
        kept, here_s = 0.5 ** (seen.elapsed_s / _HALF_S), taken_s[self.here]
        copied_s = 0.0 if seen.layout.kv_unified else seen.n_copied * self._copy_s
        self.busy_s = kept * self.busy_s + seen.elapsed_s + copied_s
        for there in self.saved_s:
            self.saved_s[there] = kept * self.saved_s[there] + here_s - taken_s[there]

    def _taken_s(self, seen: _Seen) -> dict[Layout, float]:
        """What these steps would have taken in each layout; in none less than in another where
        nothing is known of their rows."""
        n_rows = sum(part.n_rows for part in seen.parts)
        row_s = self._rows.mixed_s(seen.n_decode, n_rows - seen.n_decode)
        if row_s is None:
            return dict.fromkeys(self._layouts, 0.0)
        kinds = {one: self._kind(one, seen) for one in self._layouts}
        rows_s = {one: row_s * self._ratio(kinds[one], n_rows) for one in self._layouts}
        looks = self._looks(kinds, seen)
        look_s, here = self._look_s, seen.layout
        if looks[here]:
            most_s = row_s / (n_rows * _LEAST_DEPTH)
            back_s = seen.elapsed_s / seen.n_steps - rows_s[here]
            look_s = min(max(0.0, back_s / looks[here]), most_s)
        copied_s = seen.n_copied * self._copy_s
        return {
            one: seen.n_steps * (rows_s[one] + look_s * looks[one])
            + (0.0 if one.kv_unified else copied_s)
            for one in self._layouts
        }

    def _kind(self, layout: Layout, seen: _Seen) -> bool:
        """Whether attention counts as plain there: until it was tried, steps that aren't deep say
        nothing of the other kind."""
        is_deep = max(part.depth for part in seen.parts) >= LEAST_DEPTH
        return (layout if self.has_tried or is_deep else seen.layout).attends_plainly

    def _looks(self, kinds: Mapping[Layout, bool], seen: _Seen) -> dict[Layout, float]:
        found = dict[Layout, float]()
        for kind, attention in self._attention.items():
            cost, passed = self._cost[kind], attention.passed(seen.parts, seen.n_shared)
            pool, streams = cost.of(passed.pool), cost.of(passed.streams)
            alike = (one for one in kinds if kinds[one] == kind)
            found |= {one: pool if one.kv_unified else streams for one in alike}
        return found

    def _ratio(self, is_plain: bool, n_rows: int) -> float:
        """Of a step on empty memory, over the same in the first layout."""
        if is_plain == self._first.attends_plainly:
            return 1.0
        return self._rows_ratio[max(n for n in self._rows_ratio if n <= max(1, n_rows))]
