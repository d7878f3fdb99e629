"""Whose structures are followed in the next step, where all together would take too long. Pure.

A token's mask takes microseconds; but a tenth of a second where a structure is made to hurt. All
masks of a step are computed one after the other, while everybody waits. So those that take long
share a bounded part of a step: the rest of them sit it out, and come first in one of the next.
"""

from collections.abc import Sequence as Many

from edgellm.runner.sequence import Sequence

MOST_S = 0.03  # of a step, for the masks of all; one that takes longer by itself is alone


def sitting_out(sequences: Many[Sequence]) -> list[Sequence]:
    """Which of the sequences that would decode now have to wait. Whoever has sat out the most steps
    comes first: so with n slow masks each has its turn at least every n-th time."""
    if not [one for one in sequences if one.mask]:
        return []
    share_s = MOST_S / max(1, len(sequences))
    costly = [one for one in sequences if mask_s(one) > share_s]
    left_s = MOST_S - sum(mask_s(one) for one in sequences if mask_s(one) <= share_s)
    late = []
    for i, one in enumerate(sorted(costly, key=lambda one: -one.n_sat_out)):
        if i and mask_s(one) > left_s:
            late.append(one)
        else:
            left_s -= mask_s(one)
    for one in sequences:
        one.n_sat_out = one.n_sat_out + 1 if one in late else 0
    return late


def mask_s(sequence: Sequence) -> float:
    """What its last token's mask took: the best guess for the next one."""
    return sequence.mask.took_s if sequence.mask else 0.0
