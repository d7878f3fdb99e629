"""What a step costs by its number of rows. Pure: measured at start, corrected by every step.

The cost is not proportional to the rows, and not even monotonic: kernels work on blocks, so on one
CPU three rows take 49 ms and four 31. Whoever decides on a number of rows asks here: for padding
(scheduler.py), a prompt's chunk (pace.py), the length of a draft (speculation.py).

    step_s(n)          n rows that each want logits: streams that decode, drafts that are verified
    mixed_s(d, p, at)  d such rows and p rows of prompts, which look back on `at`: in one call of
                       llama_decode, or in two where that is faster (`are_apart`)

Both start from tables that rehearsal.py measured on nearly empty memory. Real steps cost more as
conversations get longer, so an observed step moves a factor that is common to all sizes; and, much
more slowly, the entry of its own size. What prompts cost by their depth is a term of its own
(looking_back.py): what a step was off by is split between the two terms by their parts of it. What
is known beforehand about the next step moves the factors at once (`slow_down`); otherwise they
would learn it from steps that are already too long.
"""

from collections.abc import Mapping
from typing import NamedTuple

from edgellm.runner.pacing.looking_back import NOTHING, Before, LookingBack

# Weight of the newest step in the common factor:
_SMOOTHING = 0.3
_PROMPT_SMOOTHING = 0.5  # of one with a prompt: these are long and few
_LOOK_SMOOTHING = 0.7  # of one without, that was made to resolve a doubt
_OWN_SMOOTHING = 0.05  # and in its size's own entry: one busy second must not bend the curve
_KEEP = 0.99  # of the trust in an entry stays with each step that doesn't show it
_LEAST_TELLING = 0.05  # of a prompt's cost: a smaller part of it can't be told from noise
_OFF = 1.5  # times as dear as believed is a doubt
_WORTH_PADDING = 0.93  # of the cost without: a smaller gain is noise
_MAX_PADDING = 3  # rows
_BOUND = 4.0  # an observation counts as off by so much at most: a stopped process is no step


class Table:
    """Seconds by number of rows, with straight lines between the known sizes."""

    def __init__(self, known: Mapping[int, float] | None = None) -> None:
        self._known = dict(sorted((known or {}).items()))

    def __contains__(self, n_rows: int) -> bool:
        return n_rows in self._known

    def __bool__(self) -> bool:
        return bool(self._known)

    @property
    def largest(self) -> int:
        return max(self._known, default=0)

    @property
    def row_s(self) -> float:
        """One row's, in a batch of the largest known size."""
        return self._known[self.largest] / self.largest if self._known else 0.0

    def put(self, n_rows: int, seconds: float) -> None:
        self._known[n_rows] = seconds
        self._known = dict(sorted(self._known.items()))

    def scale(self, n_rows: int, factor: float) -> None:
        self._known[n_rows] *= factor

    def at(self, n_rows: int) -> float | None:
        """None: nothing is known. Beyond the largest known size the cost grows in proportion; below
        the smallest it is that one's."""
        if not self._known:
            return None
        below: tuple[int, float] | None = None
        for size, seconds in self._known.items():
            if size == n_rows:
                return seconds
            if size > n_rows:
                if below is None:
                    return seconds
                share = (n_rows - below[0]) / (size - below[0])
                return below[1] + share * (seconds - below[1])
            below = (size, seconds)
        assert below is not None
        return below[1] * n_rows / below[0]


class _PromptCost(NamedTuple):
    rows_s: float  # of its rows, at any depth
    back_s: float  # of looking back from there

    @property
    def all_s(self) -> float:
        return self.rows_s + self.back_s


class StepCosts:
    def __init__(
        self,
        decode: Mapping[int, float] | None = None,
        prompt: Mapping[int, float] | None = None,
        switch_s: float = 0.0,
        looking_back: LookingBack | None = None,
    ) -> None:
        """`decode`: seconds by rows, each of another sequence and all with logits. `prompt`: by
        rows of one sequence, only the last with logits. Either may be empty, and is then learnt.
        `switch_s`: what a step takes longer if it has another number of rows than the last one."""
        self.looking_back = looking_back or LookingBack()
        self.switch_s = switch_s
        self._slowdown = 1.0
        self._last_rows = 0  # of the step before
        decode, prompt = dict(decode or {}), dict(prompt or {})
        if prompt and 1 in decode:
            prompt[1] = decode[1]  # the same thing
        self._decode, self._prompt = Table(decode), Table(prompt)
        self._measured = frozenset(decode)
        self._decode_factor = self._prompt_factor = 1.0
        self._prompt_least = 1.0  # least prompt factor since the last step without prompts
        self._is_off = False  # that step was far from what was believed
        self._vain_factor = 0.0  # the prompt factor when such a step resolved no doubt
        self._n_steps = 0  # without prompts
        self._seen: dict[int, int] = {}  # by rows: which of these steps was the last of that size

    def slow_down(self, times: float) -> None:
        """From now on every step takes so many times what it takes at best. Replaces what was said
        before."""
        ratio, self._slowdown = times / self._slowdown, times
        self._decode_factor *= ratio
        self._prompt_factor *= ratio
        self._prompt_least *= ratio
        self._vain_factor *= ratio

    def step_s(self, n_rows: int) -> float | None:
        """Seconds of a step with so many decoding rows. None: no step was ever seen."""
        cost_s = self._decode.at(n_rows)
        return None if cost_s is None else cost_s * self._decode_factor

    @property
    def n_seen(self) -> int:
        """The most decoding rows of any step seen: beyond it, a cost is a guess."""
        return self._decode.largest

    @property
    def doubtful(self) -> bool:
        """Steps with prompts have become much dearer: is it the prompts, or is the machine slower?
        A step without prompts would tell. If it didn't, no other is asked for until prompts have
        become as much dearer again: prompts must go on even where such steps tell nothing."""
        return self._is_in_doubt and self._prompt_factor > _OFF * self._vain_factor

    @property
    def _is_in_doubt(self) -> bool:
        return self._is_off or self._prompt_factor > _OFF * self._prompt_least

    def mixed_s(self, n_decode: int, n_prompt: int, before: Before = NOTHING) -> float | None:
        """Seconds of a step with both. None: nothing like it was ever seen."""
        base_s = self.step_s(n_decode) if n_decode else 0.0
        if not n_prompt:
            return base_s
        prompt, _ = self._cheaper(n_decode, n_prompt, before)
        return None if base_s is None or prompt is None else base_s + prompt.all_s

    def passing_s(self, n_rows: int) -> float:
        """Seconds that so many rows of prompts take for one cell of somebody else in their pool."""
        return self._rows_s(self.looking_back.passing(n_rows))

    def are_apart(self, n_decode: int, n_prompt: int, before: Before) -> bool:
        """Whether the prompts' rows take less time in a call of their own, behind the streams'."""
        return self._cheaper(n_decode, n_prompt, before)[1] != n_decode

    def detour_s(self, n_rows: int) -> float:
        """The cost of another number of rows than the last step's: of switching to it and back."""
        return 0.0 if n_rows == self._last_rows else 2 * self.switch_s

    def padded(self, n_rows: int) -> int:
        """The cheapest number of rows that holds so many, of those that were measured at start.

        Whoever pads should sometimes not, so that the smaller size's entry stays true.
        """
        now_s = self._decode.at(n_rows)
        if now_s is None or n_rows not in self._measured:
            return n_rows
        sizes = (n for n in range(n_rows + 1, n_rows + _MAX_PADDING + 1) if n in self._measured)
        costs = {n: cost_s for n in sizes if (cost_s := self._decode.at(n)) is not None}
        best = min(costs, key=lambda n: costs[n], default=n_rows)
        return best if costs and costs[best] < _WORTH_PADDING * now_s else n_rows

    def observe(
        self,
        n_decode: int,
        n_prompt: int,
        elapsed_s: float,
        unsure_s: float = 0.0,
        before: Before = NOTHING,
    ) -> None:
        """A step of so many rows took `elapsed_s`, or up to `unsure_s` less. A belief that lies
        within this range stays; another moves towards the near end of the range."""
        if n_decode + n_prompt != self._last_rows:
            elapsed_s = max(elapsed_s - self.switch_s, elapsed_s / 4)
        self._last_rows = n_decode + n_prompt
        if unsure_s:
            believed_s = self.mixed_s(n_decode, n_prompt, before) or elapsed_s
            elapsed_s = min(max(believed_s, elapsed_s - unsure_s), elapsed_s)
            if elapsed_s == believed_s and self._knows(n_decode, n_prompt):
                if not n_prompt and self._is_in_doubt:
                    self._vain_factor = self._prompt_factor
                return
        if n_prompt:
            self._observe_prompt(n_decode, n_prompt, elapsed_s, before)
        else:
            self._observe_decode(n_decode, elapsed_s)

    def _observe_prompt(
        self, n_decode: int, n_prompt: int, elapsed_s: float, before: Before
    ) -> None:
        # The decoding rows are taken to cost what they would alone; but at least a quarter of the
        # step is put down to the prompt.
        base_s = (self.step_s(n_decode) or 0.0) if n_decode else 0.0
        prompt_s = max(elapsed_s - base_s, elapsed_s / 4)
        known, n_beside = self._cheaper(n_decode, n_prompt, before)
        if not known:
            self._prompt.put(n_prompt, prompt_s)
            return
        ratio, back_part = prompt_s / known.all_s, known.back_s / known.all_s
        self._prompt_factor *= _moved(ratio, _PROMPT_SMOOTHING * (1 - back_part))
        if back_part > _LEAST_TELLING:
            back = _moved(ratio, _PROMPT_SMOOTHING * back_part)
            self.looking_back.correct(n_beside, n_prompt, before, back)
        self._prompt_least = min(self._prompt_least, self._prompt_factor)
        self._vain_factor = min(self._vain_factor, self._prompt_factor)

    def _knows(self, n_decode: int, n_prompt: int) -> bool:
        """Whether such a step was seen, and isn't merely guessed from others."""
        return bool(self._prompt) if n_prompt else n_decode in self._decode

    def _observe_decode(self, n_rows: int, elapsed_s: float) -> None:
        self._n_steps += 1
        known_s = self.step_s(n_rows)
        if not known_s or n_rows not in self._decode:
            self._decode.put(n_rows, elapsed_s / self._decode_factor)
            return
        ratio = elapsed_s / known_s
        self._decode_factor *= _moved(ratio, _LOOK_SMOOTHING if self._is_in_doubt else _SMOOTHING)
        self._is_off = not 1 / _OFF < ratio < _OFF
        self._prompt_least, self._vain_factor = self._prompt_factor, 0.0
        n_since = self._n_steps - self._seen.get(n_rows, 0)
        self._decode.scale(n_rows, _moved(ratio, max(_OWN_SMOOTHING, 1 - _KEEP**n_since)))
        self._seen[n_rows] = self._n_steps

    def _cheaper(
        self, n_decode: int, n_prompt: int, before: Before
    ) -> tuple[_PromptCost | None, int]:
        """Of both ways, and how many decoding rows are in the same call."""
        beside = self._prompt_cost(n_decode, n_prompt, before)
        ways = (n_decode, 0) if n_decode and n_prompt else ()  # only tiles make a difference
        if beside and any(self.looking_back.is_tiled(n, n_prompt, before) for n in ways):
            alone = self._prompt_cost(0, n_prompt, before.alone)
            if alone and alone.all_s < beside.all_s:
                return alone, 0
        return beside, n_decode

    def _prompt_cost(self, n_beside: int, n_prompt: int, before: Before) -> _PromptCost | None:
        """What the prompt's rows add to a call that reads the weights for `n_beside` decoding
        rows."""
        whole_s = self._prompt.at(n_beside + n_prompt)
        if whole_s is None:
            return None
        saved_s = (self._prompt.at(n_beside) or 0.0) if n_beside else 0.0
        row_s = whole_s / (n_beside + n_prompt)  # a prompt's row adds half of it at least
        added_s = max(whole_s - saved_s, row_s * n_prompt / 2)
        n_more = self.looking_back.in_rows(n_beside, n_prompt, before)
        return _PromptCost(added_s * self._prompt_factor, self._rows_s(n_more))

    def _rows_s(self, n_rows: float) -> float:
        """So many rows of a long prompt, with nothing before them."""
        return n_rows * self._prompt.row_s * self._prompt_factor


def _moved(ratio: float, weight: float) -> float:
    bounded = min(max(ratio, 1 / _BOUND), _BOUND)
    return 1 + weight * (bounded - 1)
