"""Guessed tokens are checked by sampling as if they were not there. Pure.

The rows are sampled in order, each by the sequence's own sampler and mask, for as long as what came
out is what the next row had guessed. So a token's distribution is the model's, a seed's draws stay
in order, and no sampler or mask ever has to go back.
"""

from collections.abc import Callable, Sequence

from edgellm.runner.batch import Row, Sampled


def sampled_rows(
    rows: Sequence[Row], sample: Callable[[int, int], Sampled]
) -> dict[int, tuple[Sampled, ...]]:
    """`sample(seq_id, i)` draws from row `i`. Returns the new tokens of each sequence that wants
    some."""
    found: dict[int, tuple[Sampled, ...]] = {}
    failed = -1  # the sequence whose later guesses follow a wrong one
    for i, row in enumerate(rows):
        if not row.wants_logits or row.seq_id == failed:
            continue
        new = sample(row.seq_id, i)
        found[row.seq_id] = (*found.get(row.seq_id, ()), new)
        following = rows[i + 1] if i + 1 < len(rows) else None
        if new.ends or following is None or following.token != new.token:
            failed = row.seq_id
    return found
