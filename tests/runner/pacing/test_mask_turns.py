import pytest

from edgellm.runner.pacing.mask_turns import MOST_S, mask_s, sitting_out
from edgellm.runner.sequence import Sequence


class Took:
    def __init__(self, took_s):
        self.took_s = took_s


def sequences(*masks_s):
    """With masks that took so long; None: no mask."""
    found = []
    for seq_id, took_s in enumerate(masks_s):
        one = Sequence(seq_id, [5], 100, mask=None if took_s is None else Took(took_s))
        one.seq_id = seq_id
        found.append(one)
    return found


def late(found, n_step=0):
    return [one.seq_id for one in sitting_out(found, n_step)]


@pytest.mark.parametrize("masks_s", [(), (None,), (0.0001,) * 32, (0.5,), (0.5, None, 0.0001)])
def test_whose_masks_fit_or_who_is_alone_with_a_long_one_sits_nothing_out(masks_s):
    for n_step in range(4):
        assert late(sequences(*masks_s), n_step) == []


def test_of_long_masks_as_many_as_fit_are_in_a_step():
    assert late(sequences(MOST_S / 3, MOST_S / 2, MOST_S / 2)) == [2]
    assert late(sequences(0.05, 0.05, 0.05)) == [1, 2]


def test_who_has_no_mask_or_a_short_one_never_sits_out():
    found = sequences(0.05, None, 0.0001, 0.05, None, 0.0001)
    for n_step in range(20):
        assert late(found, n_step) in ([0], [3])


@pytest.mark.parametrize("masks_s", [(0.05,) * 7, (0.01,) * 5, (0.04, 0.01, 0.02, 0.3, None)])
def test_everybody_has_a_turn_in_as_many_steps_and_no_step_takes_longer(masks_s):
    found = sequences(*masks_s)
    n_turns = dict.fromkeys(range(len(found)), 0)
    for n_step in range(len(found)):
        out = late(found, n_step)
        there = [one for one in found if one.seq_id not in out]
        together_s = sum(map(mask_s, there))
        assert together_s <= MOST_S or sum(map(bool, map(mask_s, there))) == 1
        for one in there:
            n_turns[one.seq_id] += 1
    assert min(n_turns.values()) >= 1
