import pytest

from edgellm.chat.messages import GenerateParams
from edgellm.runner.batch import (
    Batch,
    Copy,
    Discard,
    Forget,
    Fork,
    RestoreAll,
    Row,
    Save,
    SaveAll,
    Start,
    Stop,
    Trim,
)
from edgellm.runner.intake.pictures import PictureRows, Placed, row_ids
from edgellm.runner.intake.positions import Positions

NOTHING = GenerateParams()
PLACES = object()


def shown(start, n_rows, n_positions):
    """A picture from token `start` on."""
    ids = row_ids(b"red", 0, n_rows)
    return Placed(start, PictureRows(ids, None, 0, places=PLACES, n_positions=n_positions))


def start(seq_id, *pictures):
    return Start(seq_id, seq_id, NOTHING, (), None, pictures)


def ops_of(positions, *ops):
    return positions.put(Batch(ops, (), 0)).ops


def at(positions, seq_id, *numbers):
    rows = tuple(Row(seq_id, number, 5, False) for number in numbers)
    return [row.pos for row in positions.put(Batch((), rows, 0)).rows]


@pytest.fixture
def positions():
    """Sequence 0: ten tokens, a picture of 12 rows in 4 positions, one of 6 in 3, then text."""
    found = Positions()
    ops_of(found, start(0, shown(10, 12, 4), shown(25, 6, 3)))
    return found


def test_text_after_a_picture_follows_at_the_position_that_the_picture_leaves(positions):
    assert at(positions, 0, 0, 9, 22, 24, 31, 40) == [0, 9, 14, 16, 20, 29]


def test_without_pictures_a_batch_stays_as_it_is():
    batch = Batch((start(0), Fork(0, 1, 9)), (Row(0, 3, 5, True),), 1)
    assert Positions().put(batch) is batch


def test_pictures_that_take_a_position_for_each_row_change_nothing():
    found = Positions()
    ops_of(found, start(0, shown(10, 12, 12)))
    assert at(found, 0, 30) == [30]


@pytest.mark.parametrize("kind", [Fork, Copy])
def test_who_forks_takes_along_the_pictures_of_its_prefix(positions, kind):
    assert ops_of(positions, kind(0, 1, 23)) == (kind(0, 1, 15),)
    assert at(positions, 1, 23, 40) == [15, 32]
    assert ops_of(positions, kind(0, 2, 9)) == (kind(0, 2, 9),)
    assert at(positions, 2, 40) == [40]


def test_what_is_cut_off_takes_its_pictures_with_it(positions):
    assert ops_of(positions, Trim(0, 24)) == (Trim(0, 16),)
    assert at(positions, 0, 24, 40) == [16, 32]


def test_who_is_forgotten_leaves_nothing_to_the_next_on_its_id(positions):
    ops_of(positions, Forget(0), start(0))
    assert at(positions, 0, 40) == [40]


def test_a_sequence_begins_with_its_own_pictures_whoever_was_there_before(positions):
    ops_of(positions, Stop(0), start(0, shown(2, 6, 3)))
    assert at(positions, 0, 40) == [37]


def test_stretches_are_saved_by_positions(positions):
    assert ops_of(positions, Save(0, 22, 40, 7)) == (Save(0, 14, 29, 7),)


def test_a_pictures_own_rows_keep_their_numbers(positions):
    picture = shown(10, 12, 4)
    rows = tuple(Row(0, 10 + i, id_, False) for i, id_ in enumerate(picture.rows.ids))
    assert positions.put(Batch((), rows, 0)).rows == rows


def test_operations_of_one_batch_follow_one_another(positions):
    moved = ops_of(positions, Fork(0, 1, 31), Forget(0), start(0), Fork(1, 2, 31))
    assert (moved[0], moved[3]) == (Fork(0, 1, 20), Fork(1, 2, 20))


def test_a_conversation_that_was_away_has_its_pictures_when_it_is_back(positions):
    ops_of(positions, SaveAll(0, 7), Forget(0))
    ops_of(positions, start(0), Stop(0), Forget(0))  # meanwhile nobody has any
    moved = ops_of(positions, RestoreAll(7, 1, ()), Discard(7), Trim(1, 24))
    assert moved[-1] == Trim(1, 16)
    assert at(positions, 1, 24, 40) == [16, 32]
    ops_of(positions, RestoreAll(7, 2, ()))
    assert at(positions, 2, 40) == [40]  # of another one, whose number it is now


def test_who_had_no_pictures_comes_back_without(positions):
    ops_of(positions, start(1), SaveAll(1, 8), SaveAll(0, 9), RestoreAll(8, 0, ()))
    assert at(positions, 0, 40) == [40]
