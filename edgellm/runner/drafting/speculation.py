"""How many guessed tokens go into a step beside those that are known. Pure.

While a step is bound by reading the weights, one more row with a guess in it costs little, and wins
a token if the guess comes true. So the rows of all sequences are one question: take the likeliest
guesses at hand, as many as make the most tokens a second by what steps are seen to take. That may
be none; and there are none where the outcome falls short of what was expected (outcome.py).

Neither text nor distribution changes: every row is sampled as ever, and a guess counts only if it
is what was sampled. A step with another number of rows than the last one is laid out anew, and so
is the one after it. Where that costs as much as a step, as on a fast GPU, guesses have to win it
back.

Beside a prompt nothing is guessed: such a step is bound by computing, and its length is decided
elsewhere (pace.py). A recurrent state can go back by a few tokens at most, and there llama.cpp
computes sequences with unequal numbers of rows one after the other (llama-memory-hybrid.cpp,
init_batch): so guesses are few, and only for a sequence that is alone.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

from edgellm.runner.backend import Step
from edgellm.runner.batch import DRAFTED, Batch
from edgellm.runner.drafting.guessing import Guesser
from edgellm.runner.drafting.lookup import Lookup
from edgellm.runner.drafting.outcome import Outcome
from edgellm.runner.drafting.trust import Trust
from edgellm.runner.pacing.mask_turns import mask_s
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.pacing.smoothing import smoothed
from edgellm.runner.sequence import Sequence

# Tokens a second with guesses against those without: to begin with guessing, and to go on.
_TO_BEGIN, _TO_GO_ON = 1.1, 1.02
_KEEP = 0.99  # of a draft's believed time is kept with each step without one
# Of a step: what one more row is hoped to cost if no step had so many yet: so that one will.
_HOPED_ROW_RATIO = 0.25
_MASKS_S = 0.005  # of a step, for the masks of one sequence's guesses: each guess needs one


class Speculation:
    def __init__(
        self, n_rows: int, pace: Pace, n_rollback: int | None = None, *, by_model: bool = False
    ) -> None:
        """`n_rows`: rows with logits that a step may have beyond one for each sequence.
        `n_rollback`: tokens that a sequence can be cut back by, as in Limits. `by_model`: a draft
        model writes the guesses."""
        self._n_rows, self._pace, self._by_model = n_rows, pace, by_model
        self._n_rollback = n_rollback
        self._draft_token_s = 0.0  # what the draft model takes for the next token of each sequence
        self._is_on = False
        self._was_guessed = False  # in the last step
        self._outcomes = defaultdict[int, Outcome](Outcome)  # by how many sequences decode

    def drafts(self, sequences: list[Sequence], n_free: int) -> dict[int, tuple[int, ...]]:
        """The guesses for the next step, by seq_id. `sequences`: all that run, and all decode."""
        n_free = min(n_free, self._rows_for(len(sequences)))
        chances = self._chances(sequences, n_free) if n_free > 0 else {}
        drafts = self._guesses(sequences, chances, n_free) if chances else {}
        self._is_on = bool(drafts)
        if not drafts:
            self._draft_token_s *= _KEEP  # otherwise one slow draft might be the last
        return drafts

    def _rows_for(self, n_sequences: int) -> int:
        if not self._outcomes[n_sequences].allows:
            return 0
        if self._n_rollback is None:
            return self._n_rows
        return min(self._n_rows, self._n_rollback) if n_sequences == 1 else 0

    def _guesses(
        self, sequences: list[Sequence], chances: Mapping[int, list[float]], n_free: int
    ) -> dict[int, tuple[int, ...]]:
        counts, drafts = self._allot(chances, len(sequences), n_free), {}
        for sequence in sequences:
            n, guesser = counts.get(sequence.seq_id, 0), sequence.guesser
            if guesser and n and n >= sequence.params.n_draft_min:
                drafts[sequence.seq_id] = _allowed(sequence, guesser.guess(sequence.tokens, n))
            elif guesser and sequence.seq_id in chances:
                guesser.refused()
        return {seq_id: guesses for seq_id, guesses in drafts.items() if guesses}

    def observe(self, batch: Batch, step: Step, elapsed_s: float) -> None:
        """What a batch gave, and what it took from deciding to sampling, without copies.

        A draft model may only have caught up on tokens that it lacks, and guessed nothing yet: that
        time doesn't count as lost.
        """
        was_guessed, self._was_guessed = self._was_guessed, False
        if batch.n_prompt_rows:
            return
        n_tokens = sum(map(len, step.sampled.values()))
        self._was_guessed = rows_computed(batch, step) > len(step.sampled)
        if not self._was_guessed:
            elapsed_s -= step.draft_s
        outcome = self._outcomes[len(step.sampled)]
        if was_guessed and not self._was_guessed:
            back_s = min(self._pace.costs.switch_s, elapsed_s / 2)
            outcome.charge(back_s)
            elapsed_s -= back_s
        outcome.observe(n_tokens, elapsed_s, guessed=self._was_guessed)
        if deepest := max((step.n_drafted or {}).values(), default=0):
            self._draft_token_s = smoothed(self._draft_token_s, step.draft_s / deepest)

    def _chances(self, sequences: list[Sequence], n_free: int) -> dict[int, list[float]]:
        found = {}
        for sequence in sequences:
            most = sequence.params.n_draft_max
            # An answer's last token is told but never computed, so it needs no row.
            n_most = min(n_free, sequence.n_max - len(sequence.tokens) - 1)
            n_most = n_most if most is None else min(n_most, most)
            if took_s := mask_s(sequence):
                n_most = min(n_most, int(_MASKS_S / took_s))
            if n_most > 0:
                chances = self._guesser(sequence).chances(sequence.tokens, n_most)
                if chances:
                    found[sequence.seq_id] = chances
        return found

    def _guesser(self, sequence: Sequence) -> Guesser:
        if sequence.guesser is None:
            sequence.guesser = Trust() if self._by_model else Lookup(len(sequence.tokens))
        return sequence.guesser

    def _allot(
        self, chances: Mapping[int, list[float]], n_known: int, n_free: int
    ) -> Mapping[int, int]:
        """How many of the `n_free` rows each sequence gets, beside the `n_known` rows that there
        are in any case.

        A step may exceed the inter-token target only if every sequence wins by that.
        """
        base_s = self._pace.costs.step_s(n_known)
        if base_s is None:
            return {}
        ranked = sorted(
            ((chance, seq_id) for seq_id, own in chances.items() for chance in own),
            key=lambda one: -one[0],
        )[:n_free]
        best, best_rate = 0, (_TO_GO_ON if self._is_on else _TO_BEGIN) * n_known / base_s
        target_s = max(base_s, self._pace.itl_target_s or math.inf)
        n_right, counts = defaultdict[int, float](float), Counter[int]()
        for n, (chance, seq_id) in enumerate(ranked, 1):
            n_right[seq_id] += chance
            counts[seq_id] += 1
            step_s = self._rows_s(n_known, n) + max(counts.values()) * self._draft_token_s
            step_s += self._pace.costs.detour_s(n_known + n)
            least = min(n_right.values()) if len(n_right) == n_known else 0.0
            rate = (n_known + sum(n_right.values())) / step_s
            if rate > best_rate and (step_s <= target_s or (1 + least) * base_s >= step_s):
                best, best_rate = n, rate
        return Counter(seq_id for _, seq_id in ranked[:best])

    def _rows_s(self, n_known: int, n_guessed: int) -> float:
        costs = self._pace.costs
        if n_known + n_guessed > costs.n_seen:
            least = min(n_known, costs.n_seen)
            return (costs.step_s(least) or 0.0) * (1 + _HOPED_ROW_RATIO * n_guessed)
        return costs.step_s(n_known + n_guessed) or 0.0


def rows_computed(batch: Batch, step: Step) -> int:
    """The batch's rows without those guesses that the draft model was asked for and didn't make."""
    if step.n_drafted is None:
        return len(batch.rows)
    n_asked = sum(row.token == DRAFTED for row in batch.rows)
    return len(batch.rows) - n_asked + sum(step.n_drafted.values())


def _allowed(sequence: Sequence, guesses: tuple[int, ...]) -> tuple[int, ...]:
    """The guesses up to where its structure forbids one. A draft model's are not known yet."""
    if sequence.mask is None or DRAFTED in guesses:
        return guesses
    return guesses[: sequence.mask.would_accept(guesses)]
