"""Whether one variation is faster than another: two samples at a time, one of each.

A machine's own speed drifts, by a tenth from minute to minute and by half in a bad hour, so nothing
is held against a figure of earlier. Both sides are measured in turn, A B B A A B …, and each pair
gives one ratio. What drifts steadily favours the one in a pair and the other in the next.

The interval is of the median, by the order of the ratios: it asks for no bell curve. For five of
them it is the whole range (a median lies outside in 6 of 100 cases), from nine on without the
outermost on each side (4 of 100). In a final that is done with eleven only (1 of 100).
"""

from collections.abc import Sequence
from statistics import median

from edgellm.selector.knobs import Knobs
from edgellm.selector.profiles import Workload
from edgellm.values import frozen

LEAST_GAIN_RATIO = 0.03
_MOST_SLOWER = 1  # pairs; with one more no interval ends below one
_USUAL, _MOST = 5, 9
_USUAL_FINAL, _MOST_FINAL = 8, 11  # eight of eight by luck alone: once in 256 matches


@frozen
class Sample:
    prefill_tok_s: float
    decode_tok_s: float

    def request_s(self, workload: Workload) -> float:
        """What a typical request would take."""
        return workload.n_prompt / self.prefill_tok_s + workload.n_answer / self.decode_tok_s


@frozen
class Match:
    """Who is held against whom. The final: the plan as it was chosen against who is ahead."""

    incumbent: Knobs
    challenger: Knobs
    is_final: bool = False


@frozen
class Bout:
    """A match as it was measured. `pairs`: the incumbent's and the challenger's. `fault`: why the
    challenger could not be loaded, or died."""

    match: Match
    pairs: tuple[tuple[Sample, Sample], ...]
    fault: str | None = None

    def ratios(self, workload: Workload) -> tuple[float, ...]:
        """The challenger's time over the incumbent's."""
        return tuple(b.request_s(workload) / a.request_s(workload) for a, b in self.pairs)

    def is_won(self, workload: Workload) -> bool | None:
        """By the challenger. None: nobody can tell yet."""
        if self.fault is not None:
            return False
        return verdict(self.ratios(workload), is_final=self.match.is_final)


def verdict(ratios: Sequence[float], *, is_final: bool = False) -> bool | None:
    """Faster by 3 % or more, and the whole interval below one. None: one more pair is needed."""
    usual, most = (_USUAL_FINAL, _MOST_FINAL) if is_final else (_USUAL, _MOST)
    if sum(ratio >= 1 for ratio in ratios) > _MOST_SLOWER:
        return False
    n = len(ratios)
    if n < usual:
        return None
    if 1 - median(ratios) < LEAST_GAIN_RATIO:
        return False
    if interval(ratios, trimmed_from=most)[1] < 1:
        return True
    return None if n < most else False


def interval(ratios: Sequence[float], *, trimmed_from: int = _MOST) -> tuple[float, float]:
    """Where the median lies."""
    ordered = sorted(ratios)
    return (ordered[1], ordered[-2]) if len(ordered) >= trimmed_from else (ordered[0], ordered[-1])


def scatter_ratio(bouts: Sequence[Bout], workload: Workload) -> float:
    """Half of the usual interval: smaller gains are not seen. 0 where nothing was measured."""
    each = [interval(ratios) for bout in bouts if (ratios := bout.ratios(workload))]
    return median((high - low) / 2 for low, high in each) if each else 0.0


def middle(samples: Sequence[Sample]) -> Sample:
    return Sample(
        median(sample.prefill_tok_s for sample in samples),
        median(sample.decode_tok_s for sample in samples),
    )
