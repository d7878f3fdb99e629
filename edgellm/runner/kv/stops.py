"""At which lengths of a prompt a checkpoint is worth a step that ends there. Pure.

A step ends where a checkpoint is to be taken, so each one may cost a step more; a bigger one would
have been cheaper. Worth it are the places where other prompts have parted from this one, or will:

    the end of the first message    a system prompt, shared by everyone
    the end of the last message     what the next turn begins with, whatever becomes of the answer
    a token before the end          where no message ends there: the same prompt once more
    where another prompt parted     it will not be the last one
    where a window is whole yet     it can be cut back to where any other parts before
    in between                      messages' ends, not too close; else every so many tokens
"""

from bisect import bisect_right

from edgellm.runner.kv.memory import WORTH_SHARING

# Tokens: the last one of a prompt is always computed. Any more, whoever comes once more would
# compute too, and a row takes longer than a window's copy (gemma-3-1b on two cores: 7 ms, and 1.4).
_TAIL = 1
# Tokens from the stop before: the same prompt comes once more sooner than another parts from it.
_TAIL_APART = 16


def stops(
    tokens: list[int],
    start: int,
    turn_ends: frozenset[int],
    every: int,
    parted: int,
    whole: int = 0,
) -> list[int]:
    """Ascending lengths between `start` and the prompt's end.

    `start`: where it begins to be computed; `parted`: the most that any other has in common;
    `whole`: up to where a window begins with the first token; 0: it has none.
    """
    ends = [i + 1 for i in range(start, len(tokens) - 1) if tokens[i] in turn_ends]
    first = not any(token in turn_ends for token in tokens[:start])
    wanted = {*ends[: int(first)], *ends[-1:], parted}
    found: list[int] = []
    last = start
    for stop in sorted({*ends, *wanted}):
        apart = WORTH_SHARING if stop in wanted else every // 2
        if stop < len(tokens) and stop - last >= apart:
            found.append(stop)
            last = stop
    tail = len(tokens) - _TAIL
    if tail >= WORTH_SHARING and tail - last >= _TAIL_APART:
        found.append(tail)
    return _filled(found, start, len(tokens), every, whole)


def first_end(tokens: list[int], turn_ends: frozenset[int]) -> int:
    """Of the first message; 0: none ends."""
    return next((i + 1 for i, token in enumerate(tokens) if token in turn_ends), 0)


def _filled(found: list[int], start: int, end: int, every: int, whole: int) -> list[int]:
    """No gap is longer than `every`."""
    filled: list[int] = []
    for stop in [*found, end]:
        while (at := _next(start, every, whole)) <= stop - _apart(at == whole):
            filled.append(at)
            start = at
        filled.append(stop)
        start = stop
    return filled[:-1]


def _next(start: int, every: int, whole: int) -> int:
    return whole if every // 2 <= whole - start <= every else start + every


def _apart(is_whole: bool) -> int:
    """Tokens to the stop behind, at least."""
    return _TAIL_APART if is_whole else WORTH_SHARING


def following(stops: list[int], n_computed: int) -> int | None:
    """The first stop beyond what is computed."""
    i = bisect_right(stops, n_computed)
    return stops[i] if i < len(stops) else None
