"""How many rows of the next step each running sequence gets. Pure.

decoding      one row, so that nobody's stream stalls
prompts       a chunk each, out of what the pace allows beside the decoding rows
sitting out   none: their adapters are not this step's, or their mask is too slow for it
restoring     none: their cells are still on the way back from host memory
"""

from collections.abc import Mapping
from typing import NamedTuple

from edgellm.runner.intake.pictures import next_rows
from edgellm.runner.kv.memory import Limits, Memory
from edgellm.runner.pacing.fairness import by_turns
from edgellm.runner.pacing.looking_back import NOTHING, Before, Tiles
from edgellm.runner.pacing.mask_turns import mask_s, sitting_out
from edgellm.runner.pacing.pace import Pace, Unread
from edgellm.runner.pacing.turns import Turns
from edgellm.runner.sequence import Sequence

_LEAST_ROWS = 32  # of a step that only reads prompts: fewer rows hardly take less time


class RowCounts(NamedTuple):
    by_id: dict[int, int]  # of every running sequence, by seq_id
    n_prompt: int = 0  # of them all, those that read prompts
    before: Before = NOTHING  # what these look back on
    apart: frozenset[int] = frozenset()  # the prompts' ids, where a call of their own is faster


class RowBudget:
    def __init__(self, limits: Limits, pace: Pace, memory: Memory) -> None:
        self._limits, self._pace, self._memory = limits, pace, memory
        self.turns = Turns(pace)
        self.n_steps = 0

    def divide(self, running: Mapping[int, Sequence]) -> RowCounts:
        """`running` by seq_id. All that get rows have the same adapters."""
        self.n_steps += 1
        adapters = self.turns.next(s for s in running.values() if not s.restoring)
        decoding, prompts = list[Sequence](), list[Sequence]()
        for sequence in running.values():
            if sequence.is_decoding:
                decoding.append(sequence)
            elif sequence.adapters == adapters and not sequence.restoring:
                prompts.append(sequence)
        computed = [s for s in decoding if s.adapters == adapters]
        if late := sitting_out(computed):
            computed = [s for s in computed if s not in late]
        counts = dict.fromkeys(running, 0)
        for sequence in computed:
            counts[sequence.seq_id] = 1
        if not prompts:
            return RowCounts(counts)
        prompts = by_turns(prompts, self.n_steps)
        tiles = self._tiles(computed, prompts)
        n_left = self._prompt_rows(prompts, decoding, computed, tiles)
        for sequence in prompts:
            n_rows = counts[sequence.seq_id] = self._chunk(sequence, n_left)
            n_left = max(0, n_left - n_rows)
        chunks = [(n, s.n_computed) for s in prompts if (n := counts[s.seq_id])]
        n_prompt, before = sum(n for n, _ in chunks), Before.of(chunks, tiles)
        are_apart = self._pace.costs.are_apart(len(computed), n_prompt, before)
        ids = frozenset(s.seq_id for s in prompts) if are_apart else frozenset[int]()
        return RowCounts(counts, n_prompt, before, ids)

    def _tiles(self, computed: list[Sequence], prompts: list[Sequence]) -> list[Tiles]:
        """See Before.of: of as many prompts as may get rows."""
        found, n_rows = list[Tiles](), 0
        if not self._pace.costs.looking_back.sees_tiles:
            return found
        for n_prompts, prompt in enumerate(prompts, 1):
            if n_rows >= self._limits.n_batch:
                break
            some = prompts[:n_prompts]
            beside, alone = (self._memory.in_tiles(those) for those in ([*computed, *some], some))
            if beside is None or alone is None:
                break
            found.append(Tiles(beside, alone))
            n_rows += prompt.n_pending
        return found

    def _prompt_rows(
        self,
        prompts: list[Sequence],
        decoding: list[Sequence],
        computed: list[Sequence],
        tiles: list[Tiles],
    ) -> int:
        """For all prompts together. `computed`: who of `decoding` has a row in this step."""
        limits = self._limits
        n_rows = self._pace.chunk(
            len(decoding),
            [Unread(s.n_pending, s.n_computed) for s in prompts],
            limits.n_batch - len(decoding),
            sum(mask_s(s) for s in computed),
            n_sitting=len(decoding) - len(computed),
            tiles=tiles,
            is_read=any(s.params.is_read for s in decoding),
        )
        if not computed:  # the step is the prompts' own: a short one would be wasted
            n_rows = max(n_rows, min(_LEAST_ROWS, limits.n_batch))
        return max(n_rows, limits.n_chunk or 0)

    def _chunk(self, sequence: Sequence, n_most: int) -> int:
        at = sequence.n_computed
        end = self._memory.next_stop(sequence) or len(sequence.tokens)
        return next_rows(at, end, n_most, self._limits.n_chunk, sequence.pictures)
