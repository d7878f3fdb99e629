"""`edgellm tune` while it measures, and what it says at the end."""

import sys
import time
from collections.abc import Sequence
from statistics import median
from textwrap import fill

from edgellm.cli.measuring.trials import Tuning
from edgellm.cli.preparing.tuned import Tuned
from edgellm.selector.bouts import LEAST_GAIN_RATIO, Bout, Match, Sample, interval, middle
from edgellm.selector.knobs import Knobs
from edgellm.selector.profiles import Workload
from edgellm.tui.terminal import can_draw, columns, draw_over
from edgellm.units import format_rate, format_seconds

_BESIDE_NAMES = " " * 5


class Watch:
    """A line for each variation, on stderr; on a terminal also how the one under way stands. The
    first line is the plan's own, and says how long the others will take."""

    def __init__(self, start: Knobs, n_fewest: int, workload: Workload) -> None:
        self._start, self._n, self._n_fewest, self._workload = start, 0, n_fewest, workload
        self._clock, self._begun_s = time.monotonic, time.monotonic()
        self._out = sys.stderr
        self._draws = can_draw(self._out)
        self._draw("  0  as chosen …")

    def begun(self, first: Tuning) -> None:
        after = f" after {first.depth:,} tokens" if first.depth else ""
        self._print(f"  0  {'as chosen':<36} {_figures(first.first)}{after}")
        if self._n_fewest:
            least_s = self._n_fewest * (self._clock() - self._begun_s)
            many = "1 variation" if self._n_fewest == 1 else f"{self._n_fewest} variations"
            self._print(f"{_BESIDE_NAMES}{many} or some more: at least {format_seconds(least_s)}")

    def under_way(self, match: Match, ratios: Sequence[float]) -> None:
        self._n += not ratios
        said = f" {_change(ratios)} after {len(ratios)} pairs" if ratios else ""
        self._draw(f"{self._n:>3}  {_name(match, self._start)} …{said}")

    def settled(self, bout: Bout) -> None:
        name = _name(bout.match, self._start)
        if bout.fault is not None:
            self._print(f"{self._n:>3}  {name:<36} can't be loaded: {bout.fault}")
            return
        figures = _figures([challenger for _, challenger in bout.pairs])
        change = _change(bout.ratios(self._workload))
        won = ", faster" if bout.is_won(self._workload) else ""
        self._print(f"{self._n:>3}  {name:<36} {figures}  {change}{won}")

    def _draw(self, line: str) -> None:
        if self._draws:
            draw_over(self._out, line)

    def _print(self, line: str) -> None:
        """On a terminal no wider than that is: a number that is cut in two is hard to read."""
        if self._draws:
            draw_over(self._out)
            room = columns(self._out)
            line = fill(line, room, subsequent_indent=_BESIDE_NAMES, break_on_hyphens=False)
        print(line, file=self._out, flush=True)


def _name(match: Match, start: Knobs) -> str:
    """What the challenger has otherwise than the plan."""
    what = ", ".join(match.challenger.changes(start)) or "as chosen"
    return f"final: {what}" if match.is_final else what


def _change(ratios: Sequence[float]) -> str:
    """Of a request's time."""
    low, high = (ratio - 1 for ratio in interval(ratios))
    return f"time {median(ratios) - 1:+.0%} ({low:+.0%} to {high:+.0%})"


def _figures(samples: Sequence[Sample]) -> str:
    sample = middle(samples)
    prefill, decode = (format_rate(n, "") for n in (sample.prefill_tok_s, sample.decode_tok_s))
    return f"prompt {prefill:>7} decode {decode:>7} tok/s"


def summary(tuned: Tuned, tuning: Tuning, workload: Workload) -> str:
    now = f"decode {format_rate(tuned.decode_tok_s)}, prompt {format_rate(tuned.prefill_tok_s)}"
    if tuned.best == tuned.start:
        nothing = f"nothing is faster here than the plan as it is: {now}"
        return "\n".join([nothing, *_nearest(tuned, tuning, workload)])
    changes = ", ".join(tuned.best.changes(tuned.start))
    served = tuned.served
    return (
        f"fastest: {changes}\n{now}: a typical request takes {tuned.gain_ratio:.0%} less time\n"
        f"serve, run, up and plan use it from here on for --use {served.use} and "
        f"{served.n_parallel} conversations; a flag goes before it"
    )


def _nearest(tuned: Tuned, tuning: Tuning, workload: Workload) -> list[str]:
    """What came nearest, and how much would have been seen."""
    fought = [bout for bout in tuning.bouts if bout.pairs and bout.fault is None]
    if not fought:
        return []
    finals = [bout for bout in fought if bout.match.is_final]
    best = min(finals or fought, key=lambda bout: median(bout.ratios(workload)))
    seen = max(LEAST_GAIN_RATIO, tuned.scatter_ratio)
    return [
        f"what came nearest, {_name(best.match, tuned.start)}: {_change(best.ratios(workload))}",
        f"gains below {seen:.0%} would not have been seen",
    ]
