"""At which lengths of a prompt a checkpoint is worth a step that ends there. Pure.

A step has to end where a checkpoint is taken, so each checkpoint may cost a step more than one
larger chunk would. It pays where other prompts have parted from this one, or will:

    the end of the first message    a system prompt, shared by everyone
    the end of the last message     the next turn begins with it, whatever becomes of the answer
    a token before the end          if no message ends there: the same prompt may come once more
    where another prompt parted     it will not be the last one
    where a window is still whole   it can be cut back to wherever another one parts before that
    in between                      at messages' ends not too close to one another; otherwise every
                                    so many tokens
"""

from bisect import bisect_right

from edgellm.runner.kv.memory import WORTH_SHARING

# Tokens between the last stop and the prompt's end. The last token of a prompt is always computed.
# With more, the same prompt would have to compute them again, and a row takes longer than to copy a
# window (gemma-3-1b on two cores: 7 ms, and 1.4).
_TAIL = 1
_TAIL_APART = 16  # tokens from the stop before that one; fewer than elsewhere: repeats are common


def stops(
    tokens: list[int],
    start: int,
    turn_ends: frozenset[int],
    every: int,
    parted: int,
    whole: int = 0,
) -> list[int]:
    """Ascending lengths between `start` and the prompt's end.

    `start`: from here on it will be computed. `parted`: the most that any other prompt has in
    common with it. `whole`: the longest prompt that fits into a window; 0: there is none.
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
    """The length at which the first message ends. 0: none does."""
    return next((i + 1 for i, token in enumerate(tokens) if token in turn_ends), 0)


def _filled(found: list[int], start: int, end: int, every: int, whole: int) -> list[int]:
    """With more stops in between, so that no gap is longer than `every`."""
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
    """Tokens from such a stop to the next one, at least."""
    return _TAIL_APART if is_whole else WORTH_SHARING


def following(stops: list[int], n_computed: int) -> int | None:
    """The first stop beyond what is computed."""
    i = bisect_right(stops, n_computed)
    return stops[i] if i < len(stops) else None
