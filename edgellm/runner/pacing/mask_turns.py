"""Whose structures are followed in the next step, where all together would take too long. Pure.

A token's mask takes microseconds, and a tenth of a second where a structure is made to hurt; all
of a step are computed one after the other, while everybody waits. So those that take long share
what such a step may take: the others of them sit it out, and come first in one of the next.
"""

from collections.abc import Sequence as Many

from edgellm.runner.sequence import Sequence

MOST_S = 0.03  # of a step, for the masks of all; one that takes longer by itself is alone


def sitting_out(sequences: Many[Sequence], n_step: int) -> list[Sequence]:
    """Of those that would decode. Each has its turn at least once in as many steps."""
    share_s = MOST_S / max(1, len(sequences))
    costly = [one for one in sequences if mask_s(one) > share_s]
    if not costly:
        return []
    left_s = MOST_S - sum(mask_s(one) for one in sequences if mask_s(one) <= share_s)
    first = n_step % len(costly)
    late = []
    for i, one in enumerate([*costly[first:], *costly[:first]]):
        if i and mask_s(one) > left_s:
            late.append(one)
        else:
            left_s -= mask_s(one)
    return late


def mask_s(sequence: Sequence) -> float:
    """Its last token's mask, which says what the next one will take."""
    return sequence.mask.took_s if sequence.mask else 0.0
