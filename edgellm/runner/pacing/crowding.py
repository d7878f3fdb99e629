"""How many threads compute the next step. Pure: told what steps took, by the clock and of the CPU.

An operation ends when its slowest thread does, and a step has hundreds of operations. So another
process that wants one of the cores to itself stops all threads again and again: on two cores beside
one busy neighbour, two threads make a third of the tokens that they make alone, and one thread
makes three quarters.

Our own CPU time shows that there is a neighbour: a thread that computes, or spins until the others
have, takes one second of it a second. If we got less, fewer threads are tried, and kept if steps
became shorter. From time to time all threads get another try, less often the more often that was in
vain.

Steps with a prompt's chunk are no trials: hardly two chunks have as many rows, so a trial would
last seconds. They run on as many threads as the trials have settled on. But they are as good as any
other to see whether all threads get a core again: a busy server may read prompts in every step.
Only a long chunk keeps all threads: llama.cpp deals out so much work in pieces, and whoever has a
core takes more of them. Milliseconds of one thread and of two beside that neighbour, a 0.6 B model:
5 rows 118 and 200, 32 rows 298 and 565, 128 rows 983 and 1354, 512 rows 4941 and 4927.

Answers stay the same, except for the rounding of flash attention, which divides its work among the
threads.
"""

import math
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from statistics import median

_MOST_ROWS = 32  # of a step that may serve as a trial
_LONG_ROWS = 128  # more than that are dealt out in pieces
_LOST = 0.3  # of a thread's time; less than that may be our own gateway's doing
_N_TRIED = 4  # steps of a trial that have as many rows as some before
_N_TRIED_MOST = 12  # of all sizes
_FASTER = 0.95  # of the time before counts as faster
_WATCHED_S = 0.25  # of computing, like all times here: nothing is learnt at rest
_FIRST_S, _LAST_S = 0.25, 8.0  # of rest, and then of watching, between two looks at all threads
_LOOK_S = 0.05  # of computing is enough of a look
_LAST_HOLD_S = 30.0  # between trials that were in vain


@dataclass(frozen=True, slots=True)
class Took:
    n_rows: int
    elapsed_s: float
    cpu_s: float  # of all threads together
    is_comparable: bool = True  # with others, since they may have as many rows


@dataclass(frozen=True, slots=True)
class Use:
    n: int  # threads of the next step
    settled: int  # whatever is tried or looked at for a step or two
    is_look: bool = False  # so also of a step that can't be compared


class ThreadCount:
    def __init__(self, most: int) -> None:
        self._most, self._counts = most, _counts(most)
        self._use = next(self._counts)

    def of(self, n_rows: int, n_beside: int = 0, *, reads_prompt: bool = False) -> int:
        """Threads for the next step. `n_beside` threads of our own compute beside it, and are left
        a core each: no trial is needed to find out about them."""
        if n_rows > _LONG_ROWS:
            return self._most
        use = self._use
        n = use.n if use.is_look or _is_comparable(n_rows, reads_prompt) else use.settled
        return max(1, min(n, self._most - n_beside))

    def slowdown(self, n_beside: int) -> float:
        """How many times as long the next step takes because of these threads of our own."""
        return self._use.settled / max(1, min(self._use.settled, self._most - n_beside))

    def observe(
        self, n_rows: int, elapsed_s: float, cpu_s: float, *, reads_prompt: bool = False
    ) -> None:
        """What it took, with as many threads as `of` said."""
        took = Took(n_rows, elapsed_s, cpu_s, _is_comparable(n_rows, reads_prompt))
        self._use = self._counts.send(took)


def _is_comparable(n_rows: int, reads_prompt: bool) -> bool:
    return n_rows <= _MOST_ROWS and not reads_prompt


def _counts(most: int) -> Generator[Use, Took, None]:
    """Is sent what the step of each Use took."""
    n, wait_s = most, 0.0
    while True:
        yield from _rest(n, wait_s)
        if n < most and (yield from _has_room(most, n)):
            n, wait_s = most, 0.0
        before = yield from _watch(n, math.inf if n == most else wait_s)
        if before and (fewer := _fewer(n, _got(before))):
            faster = yield from _first_faster(fewer, n, before)
            wait_s = min(max(_FIRST_S, 2 * wait_s), _LAST_HOLD_S)
            if faster:
                n, wait_s = faster, _FIRST_S
        else:
            wait_s = 0.0 if n == most else min(2 * wait_s, _LAST_S)


def _rest(n: int, seconds: float) -> Generator[Use, Took, None]:
    while seconds > 0:
        step = yield Use(n, n)
        seconds -= step.elapsed_s


def _watch(n: int, most_s: float) -> Generator[Use, Took, list[Took]]:
    """Steps that a trial's can be compared with; none if there were too few."""
    steps, left_s = list[Took](), _WATCHED_S
    while left_s > 0 and most_s > 0:
        step = yield Use(n, n)
        most_s -= step.elapsed_s
        if step.is_comparable:
            steps.append(step)
            left_s -= step.elapsed_s
    return [] if left_s > 0 else steps


def _fewer(n: int, got: float) -> list[int]:
    """The numbers of threads to try, where `n` got the CPU time of `got`: as many as that; or as
    many as had a core to themselves, if each of the others had half of one."""
    lost = n - got
    if lost < _LOST:
        return []
    return sorted({max(1, int(got)), max(1, n - round(2 * lost))} - {n}, reverse=True)


def _first_faster(
    tries: list[int], settled: int, before: list[Took]
) -> Generator[Use, Took, int | None]:
    for n in tries:
        if (yield from _is_faster(Use(n, settled), before)):
            return n
    return None


def _is_faster(use: Use, before: list[Took]) -> Generator[Use, Took, bool]:
    """Only steps of as many rows can be compared."""
    known: defaultdict[int, list[float]] = defaultdict(list)
    for step in before:
        known[step.n_rows].append(step.elapsed_s)
    ratios: list[float] = []
    n_left, left_s = _N_TRIED_MOST, _LAST_S
    while n_left and left_s > 0:
        step = yield use
        left_s -= step.elapsed_s
        n_left -= step.is_comparable
        if step.is_comparable and step.n_rows in known:
            ratios.append(step.elapsed_s / median(known[step.n_rows]))
        if len(ratios) == _N_TRIED:
            return median(ratios) < _FASTER
    return False


def _has_room(most: int, settled: int) -> Generator[Use, Took, bool]:
    look = Use(most, settled, is_look=True)
    looked = [(yield look)]
    if looked[0].elapsed_s < _LOOK_S:
        looked.append((yield look))  # the first has to start threads
    if _got(looked) < most - _LOST:
        return False
    looked, left_s = [], _WATCHED_S
    while left_s > 0:  # the first look may have met a pause of the neighbour's
        looked.append((yield look))
        left_s -= looked[-1].elapsed_s
    return _got(looked) >= most - _LOST


def _got(steps: list[Took]) -> float:
    """Threads' worth of CPU time."""
    return sum(step.cpu_s for step in steps) / sum(step.elapsed_s for step in steps)
