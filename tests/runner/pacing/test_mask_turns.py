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


def late(found):
    return [one.seq_id for one in sitting_out(found)]


@pytest.mark.parametrize("masks_s", [(), (None,), (0.0001,) * 32, (0.5,), (0.5, None, 0.0001)])
def test_whose_masks_fit_or_who_is_alone_with_a_long_one_sits_nothing_out(masks_s):
    found = sequences(*masks_s)
    for _ in range(4):
        assert late(found) == []


def test_of_long_masks_as_many_as_fit_are_in_a_step():
    assert late(sequences(MOST_S / 3, MOST_S / 2, MOST_S / 2)) == [2]
    assert late(sequences(0.05, 0.05, 0.05)) == [1, 2]


def test_who_has_no_mask_or_a_short_one_never_sits_out():
    found = sequences(0.05, None, 0.0001, 0.05, None, 0.0001)
    for _ in range(20):
        assert late(found) in ([0], [3])


@pytest.mark.parametrize("masks_s", [(0.05,) * 7, (0.01,) * 5, (0.04, 0.01, 0.02, 0.3, None)])
def test_everybody_has_a_turn_in_as_many_steps_and_no_step_takes_longer(masks_s):
    found = sequences(*masks_s)
    n_turns = dict.fromkeys(range(len(found)), 0)
    for _ in found:
        out = late(found)
        there = [one for one in found if one.seq_id not in out]
        together_s = sum(map(mask_s, there))
        assert together_s <= MOST_S or sum(map(bool, map(mask_s, there))) == 1
        for one in there:
            n_turns[one.seq_id] += 1
    assert min(n_turns.values()) >= 1


def test_who_is_asked_in_every_other_step_only_has_its_turn_too():
    one, other = sequences(0.05, 0.05), sequences(0.05, 0.05)
    sat_out = [(late(one), late(other)) for _ in range(4)]
    assert sat_out == [([1], [1]), ([0], [0])] * 2


def test_a_newcomer_does_not_push_in_before_those_who_wait():
    found = sequences(0.05, 0.05, 0.05, 0.05)
    here = found[1:]
    assert late(here) == [2, 3]
    assert 0 in late(found)
