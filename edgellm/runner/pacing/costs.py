"""What a step costs by its rows. Pure: measured at start, corrected by every step since.

The cost is not proportional to the rows, and not even monotonic: the kernels work on blocks, so on
one CPU three rows take 49 ms and four 31. Whoever decides how many rows a step gets asks here:
padding (scheduler.py), the length of a prompt's chunk (pace.py), the length of a draft.

    step_s(n)          n rows that each want logits: streams that decode, drafts that are verified
    mixed_s(d, p, at)  d such rows and p rows of prompts beside them, with what lies before these

Both start from tables that rehearsal.py measured on nearly empty memory. Real steps cost more as
conversations get longer, so what is observed moves a factor for all sizes at once; a size that is
off by itself moves its own entry too, slowly. What prompts cost by their depth is a term of its own
(looking_back.py), and each of the two terms answers for its part of what a step was off by. What is
known beforehand of the next step moves the factors before it (`slow_down`): they would learn it by
the steps that are too long already.
"""

from collections.abc import Mapping
from typing import NamedTuple

from edgellm.runner.pacing.looking_back import NOTHING, Before, LookingBack

_SMOOTHING = 0.3  # weight of the newest step in the common factor
_PROMPT_SMOOTHING = 0.5  # of prompts, whose steps are long and few
_LOOK_SMOOTHING = 0.7  # of a step that was made to find out
_LEAST_TELLING = 0.05  # of what a prompt's rows take: a smaller part was not seen
_OFF = 1.5  # so much dearer than thought
_OWN_SMOOTHING = 0.05  # and in a size's own entry: one busy second must not bend the curve
_KEEP = 0.99  # how much of an entry that was not seen is still believed, for each step since
_WORTH_PADDING = 0.93  # of the cost without: less gain than that is noise
_MAX_PADDING = 3  # rows
_BOUND = 4.0  # one observation counts as at most so many times off: a stopped process is no step


class Table:
    """Seconds by rows, straight lines between what is known."""

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
        """One of as many rows as were ever seen."""
        return self._known[self.largest] / self.largest if self._known else 0.0

    def put(self, n_rows: int, seconds: float) -> None:
        self._known[n_rows] = seconds
        self._known = dict(sorted(self._known.items()))

    def scale(self, n_rows: int, factor: float) -> None:
        self._known[n_rows] *= factor

    def at(self, n_rows: int) -> float | None:
        """None: nothing is known. Beyond the largest known size, each row costs what one of its
        rows costs on average; below the smallest, as much as that one."""
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
    rows_s: float  # of its rows, wherever they are
    back_s: float  # of their looking back

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
        """`decode`: seconds of so many rows of as many sequences, all with logits. `prompt`: of so
        many rows of one sequence, the last with logits. Either may be empty: it is learnt then.
        `switch_s`: what a step takes longer that has more or fewer rows than the one before."""
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
        self._prompt_least = 1.0  # since the last step without prompts
        self._is_off = False  # that step said so
        self._vain_factor = 0.0  # the prompts' when such a step told nothing of a doubt
        self._n_steps = 0
        self._seen: dict[int, int] = {}  # by rows of a step without prompts: when it was the last

    def slow_down(self, times: float) -> None:
        """From the next step on all take so many times what they take at their best, whatever they
        were said to take before."""
        ratio, self._slowdown = times / self._slowdown, times
        self._decode_factor *= ratio
        self._prompt_factor *= ratio
        self._prompt_least *= ratio
        self._vain_factor *= ratio

    def step_s(self, n_rows: int) -> float | None:
        """None: no step was ever seen."""
        cost_s = self._decode.at(n_rows)
        return None if cost_s is None else cost_s * self._decode_factor

    @property
    def n_seen(self) -> int:
        """The most decoding rows whose step was ever seen: beyond it, a cost is a guess."""
        return self._decode.largest

    @property
    def doubtful(self) -> bool:
        """Steps with prompts got dearer for long. Either prompts are or the machine is slower: a
        step without a prompt would tell. If one didn't, no other is asked for before
        prompts got as much dearer again: they must go on beside streams of which none tells."""
        return self._is_in_doubt and self._prompt_factor > _OFF * self._vain_factor

    @property
    def _is_in_doubt(self) -> bool:
        return self._is_off or self._prompt_factor > _OFF * self._prompt_least

    def mixed_s(self, n_decode: int, n_prompt: int, before: Before = NOTHING) -> float | None:
        """None: nothing like it was ever seen."""
        base_s = self.step_s(n_decode) if n_decode else 0.0
        if not n_prompt:
            return base_s
        prompt = self._prompt_cost(n_decode, n_prompt, before)
        return None if base_s is None or prompt is None else base_s + prompt.all_s

    def detour_s(self, n_rows: int) -> float:
        """What it costs that the next step has so many rows: there and, one day, back."""
        return 0.0 if n_rows == self._last_rows else 2 * self.switch_s

    def padded(self, n_rows: int) -> int:
        """The cheapest number of rows that holds so many, of those that were measured at start.

        Whoever pads should leave it now and then, so that the smaller size's entry stays true.
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
        """A step of so many rows took so long, or up to `unsure_s` less: then what is believed is
        moved no further than to the nearest of that, and what lies within tells nothing."""
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
        # What the decoding rows would have cost alone is not this step's to tell: at least a
        # quarter of it is the prompt's.
        base_s = (self.step_s(n_decode) or 0.0) if n_decode else 0.0
        prompt_s = max(elapsed_s - base_s, elapsed_s / 4)
        known = self._prompt_cost(n_decode, n_prompt, before)
        if not known:
            self._prompt.put(n_prompt, prompt_s)
            return
        ratio, back_part = prompt_s / known.all_s, known.back_s / known.all_s
        self._prompt_factor *= _moved(ratio, _PROMPT_SMOOTHING * (1 - back_part))
        if back_part > _LEAST_TELLING:
            back = _moved(ratio, _PROMPT_SMOOTHING * back_part)
            self.looking_back.correct(n_decode + n_prompt, back)
        self._prompt_least = min(self._prompt_least, self._prompt_factor)
        self._vain_factor = min(self._vain_factor, self._prompt_factor)

    def _knows(self, n_decode: int, n_prompt: int) -> bool:
        """Whether such a step was seen, and not only guessed from others."""
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

    def _prompt_cost(self, n_decode: int, n_prompt: int, before: Before) -> _PromptCost | None:
        """What the prompt's rows add: the weights were read for the decoding rows already."""
        whole_s = self._prompt.at(n_decode + n_prompt)
        if whole_s is None:
            return None
        saved_s = (self._prompt.at(n_decode) or 0.0) if n_decode else 0.0
        row_s = whole_s / (n_decode + n_prompt)  # a row at its best: none is cheaper than that
        added_s = max(whole_s - saved_s, row_s * n_prompt / 2)
        n_more = self.looking_back.in_rows(n_decode, n_prompt, before)
        back_s = n_more * self._prompt.row_s
        return _PromptCost(added_s * self._prompt_factor, back_s * self._prompt_factor)


def _moved(ratio: float, weight: float) -> float:
    bounded = min(max(ratio, 1 / _BOUND), _BOUND)
    return 1 + weight * (bounded - 1)
