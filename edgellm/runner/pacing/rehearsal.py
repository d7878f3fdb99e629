"""What steps of this model cost on this machine, measured once before it is ready. Pure: decoding
and the clock are handed in.

Every size is decoded twice, and the faster time counts: the first time llama.cpp lays out its graph
anew. What takes next to no time is decoded three times, because CUDA records a graph the second
time it sees it and replays it from the third (ggml-cuda.cu, ggml_backend_cuda_graph_compute); what
takes long is decoded once. On a slow machine the budget ends it early: sizes come in the order in
which they would be missed most, and missing ones are interpolated (costs.py).

The cost of laying out a graph anew is measured last, by a step of two rows among many of one. On a
fast GPU it is more than a step (an H100 computes one of a 0.6 B model in 1.3 ms), on a CPU nothing.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from edgellm.runner.batch import Row
from edgellm.values import frozen

BUDGET_S = 1.5
_LONG_S, _SHORT_S = 0.1, 0.02
_N_STEADY = 3  # steps until one of the same size is as fast as it gets
_N_DETOURS = 3
_Kind = Literal["decode", "prompt"]
_ORDER: tuple[tuple[_Kind, tuple[int, ...]], ...] = (
    ("decode", (1, 2, 4, 8)),
    ("prompt", (64,)),
    ("decode", (3,)),
    ("prompt", (16,)),
    ("decode", (6, 16, 15, 14, 5, 7, 12, 32)),
    ("prompt", (256, 512)),
    ("decode", (64, 24, 48, 128)),
)


@frozen
class Rehearsed:
    """Seconds by rows, on nearly empty memory; see costs.StepCosts."""

    decode: Mapping[int, float]
    prompt: Mapping[int, float]
    switch_s: float = 0.0


Decode = Callable[[tuple[Row, ...]], None]  # these rows on empty memory, to the last logit
Clock = Callable[[], float]


def rehearse(
    decode: Decode,
    clock: Clock,
    token: int,
    *,
    n_decode_max: int,
    n_prompt_max: int,
    n_sequences: int | None = None,
    budget_s: float = BUDGET_S,
) -> Rehearsed:
    """`n_decode_max`: rows with logits, one of each sequence that may run and those of guessed
    tokens; `n_prompt_max`: rows of a step; `n_sequences`: if fewer than `n_decode_max` may run."""
    found: dict[_Kind, dict[int, float]] = {"decode": {}, "prompt": {}}
    most = {"decode": n_decode_max, "prompt": n_prompt_max}
    n_ids = n_sequences or n_decode_max
    end_s, row_s = clock() + budget_s, 0.0
    for kind, sizes in _ORDER:
        for n_rows in sizes:
            if n_rows > most[kind] or clock() + n_rows * row_s > end_s:
                continue
            is_prompt = kind == "prompt"
            rows = _prompt(n_rows, token) if is_prompt else _streams(n_rows, token, n_ids)
            taken_s = _timed(decode, rows, clock)
            for longest_s in (_LONG_S, _SHORT_S):
                if taken_s < longest_s and clock() + taken_s <= end_s:
                    taken_s = min(taken_s, _timed(decode, rows, clock))
            found[kind][n_rows] = taken_s
            row_s = min(row_s or taken_s, taken_s / n_rows)
    switch_s = _switch_s(found["decode"], decode, clock, token)
    return Rehearsed(found["decode"], found["prompt"], switch_s)


def _switch_s(known: dict[int, float], decode: Decode, clock: Clock, token: int) -> float:
    """What a change in the number of rows costs, in that step and in those right after it. Outside
    of the budget: it is measured only where steps are short."""
    one, two = _streams(1, token, 1), _streams(2, token, 1)
    one_s, two_s = known.get(1, _LONG_S), known.get(2, _LONG_S)
    if one_s + two_s > _SHORT_S:
        return 0.0
    detours_s = []
    for i in range(_N_DETOURS + 1):
        steps = (two, *[one] * _N_STEADY) if i else [one] * _N_STEADY  # the first: to be steady
        detours_s.append(sum(_timed(decode, rows, clock) for rows in steps))
    return max(0.0, (min(detours_s[1:]) - two_s - _N_STEADY * one_s) / 2)


def _timed(decode: Decode, rows: tuple[Row, ...], clock: Clock) -> float:
    begun_s = clock()
    decode(rows)
    return clock() - begun_s


def _streams(n_rows: int, token: int, n_sequences: int) -> tuple[Row, ...]:
    """One row each; the last sequence gets the rest, as if they were guesses."""
    ids = [min(i, n_sequences - 1) for i in range(n_rows)]
    return tuple(Row(seq_id, i - seq_id, token, True) for i, seq_id in enumerate(ids))


def _prompt(n_rows: int, token: int) -> tuple[Row, ...]:
    return tuple(Row(0, pos, token, wants_logits=pos == n_rows - 1) for pos in range(n_rows))
