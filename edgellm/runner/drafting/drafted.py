"""Rows whose guesses a model writes, instead of being known beforehand. Pure."""

from collections.abc import Callable, Mapping, Sequence

from edgellm.runner.batch import DRAFTED, Row


def filled(
    rows: Sequence[Row], guess: Callable[[Mapping[int, int]], Mapping[int, Sequence[int]]]
) -> tuple[tuple[Row, ...], Mapping[int, int]]:
    """The rows with what `guess` finds for them, and how many guesses each sequence got that had
    room for some. `guess` is told that room, by seq_id."""
    asked = wanted(rows)
    guesses = guess(asked) if asked else {}
    return written(rows, guesses), {seq_id: len(guesses.get(seq_id, ())) for seq_id in asked}


def wanted(rows: Sequence[Row]) -> dict[int, int]:
    """How many guesses there is room for, by seq_id."""
    found: dict[int, int] = {}
    for row in rows:
        if row.token == DRAFTED:
            found[row.seq_id] = found.get(row.seq_id, 0) + 1
    return found


def written(rows: Sequence[Row], guesses: Mapping[int, Sequence[int]]) -> tuple[Row, ...]:
    """The rows with their guesses. Rows that get none are left out."""
    left = {seq_id: iter(tokens) for seq_id, tokens in guesses.items()}
    full = (
        Row(row.seq_id, row.pos, next(left.get(row.seq_id, iter(())), DRAFTED), row.wants_logits)
        if row.token == DRAFTED
        else row
        for row in rows
    )
    return tuple(row for row in full if row.token != DRAFTED)
