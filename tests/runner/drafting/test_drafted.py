from edgellm.runner.batch import DRAFTED, Row
from edgellm.runner.drafting.drafted import filled, wanted, written

ROWS = (
    Row(0, 5, 50, True),
    Row(0, 6, DRAFTED, True),
    Row(0, 7, DRAFTED, True),
    Row(1, 3, 30, True),
    Row(2, 9, 90, True),
    Row(2, 10, DRAFTED, True),
)


def test_rows_without_a_token_are_room_for_guesses():
    assert wanted(ROWS) == {0: 2, 2: 1}
    assert wanted(ROWS[3:4]) == {}


def test_guesses_are_written_in_order_and_rows_without_one_fall_away():
    rows = written(ROWS, {0: [51, 52], 2: []})
    assert [(row.seq_id, row.pos, row.token) for row in rows] == [
        (0, 5, 50), (0, 6, 51), (0, 7, 52), (1, 3, 30), (2, 9, 90),
    ]  # fmt: skip
    assert len(written(ROWS, {0: [51]})) == 4
    assert len(written(ROWS, {})) == 3


def test_who_has_room_for_guesses_is_asked_and_told_how_many_came():
    asked = []

    def guess(room):
        asked.append(room)
        return {0: [51]}

    assert filled(ROWS, guess) == (written(ROWS, {0: [51]}), {0: 1, 2: 0})
    assert filled(ROWS[3:4], guess) == (ROWS[3:4], {})
    assert asked == [{0: 2, 2: 1}], "where there is no room, nobody is asked"
