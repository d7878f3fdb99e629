"""Rows whose guesses are written by a model, not known beforehand. Pure."""

from collections.abc import Mapping, Sequence

from edgellm.runner.batch import DRAFTED, Row


def wanted(rows: Sequence[Row]) -> dict[int, int]:
    """By seq_id, how many guesses there is room for."""
    found: dict[int, int] = {}
    for row in rows:
        if row.token == DRAFTED:
            found[row.seq_id] = found.get(row.seq_id, 0) + 1
    return found


def written(rows: Sequence[Row], guesses: Mapping[int, Sequence[int]]) -> tuple[Row, ...]:
    """The rows with their guesses, those left out that there is none for."""
    left = {seq_id: iter(tokens) for seq_id, tokens in guesses.items()}
    full = (
        Row(row.seq_id, row.pos, next(left.get(row.seq_id, iter(())), DRAFTED), row.wants_logits)
        if row.token == DRAFTED
        else row
        for row in rows
    )
    return tuple(row for row in full if row.token != DRAFTED)
