import pytest

from edgellm.errors import Overloaded
from edgellm.runner.intake.pictures import (
    PictureRows,
    Placed,
    check_held,
    is_picture,
    next_rows,
    placed,
    row_ids,
    whole_pictures,
    woven,
)

RED, BLUE = b"red", b"blue"


def rows(digest=RED, n=8, *, whole=False, n_bytes=0):
    return PictureRows(row_ids(digest, 0, n), None, n_bytes, at_once=whole)


def test_rows_are_named_by_the_picture_and_by_nothing_else():
    assert row_ids(RED, 0, 100) == row_ids(RED, 0, 100)
    assert row_ids(RED, 0, 200)[:100] == row_ids(RED, 0, 100)
    assert not {*row_ids(RED, 0, 100)} & {*row_ids(BLUE, 0, 100)}
    assert not {*row_ids(RED, 0, 100)} & {*row_ids(RED, 1, 100)}
    assert len({*row_ids(RED, 0, 4096)}) == 4096


def test_no_row_is_named_as_a_token_or_as_none():
    ids = row_ids(RED, 0, 10_000)
    assert all(map(is_picture, ids))
    assert all(-(2**31) <= id_ < -1 for id_ in ids)
    assert not is_picture(-1)
    assert not is_picture(0)


def test_a_prompt_is_its_texts_with_the_pictures_between():
    red, blue = rows(RED, 2), rows(BLUE, 3)
    pieces = woven([[1, 5], [6], []], [((7,), red, (8,)), (blue,)])
    tokens, pictures = placed(pieces)
    assert tokens == [1, 5, 7, *red.ids, 8, 6, *blue.ids]
    assert pictures == (Placed(3, red), Placed(7, blue))
    assert [one.end for one in pictures] == [5, 10]


def walk(end, budget, n_chunk=None, pictures=()):
    """The steps of a prompt, as (start, length)."""
    at, steps = 0, []
    while at < end:
        n = next_rows(at, end, budget, n_chunk, pictures)
        if not n:
            return steps
        steps.append((at, n))
        at += n
    return steps


def test_without_pictures_a_prompt_is_cut_by_the_budget_alone():
    assert walk(10, 4) == [(0, 4), (4, 4), (8, 2)]
    assert walk(10, 4, n_chunk=4) == [(0, 4), (4, 4), (8, 2)]
    assert walk(10, 3, n_chunk=4) == []


def test_a_step_is_of_text_or_of_one_picture():
    two = (Placed(3, rows(n=4)), Placed(7, rows(BLUE, 4)))
    assert walk(15, 100, pictures=two) == [(0, 3), (3, 4), (7, 4), (11, 4)]


def test_a_picture_is_cut_by_the_budget_unless_it_must_be_whole():
    assert walk(10, 3, pictures=(Placed(2, rows(n=8)),)) == [(0, 2), (2, 3), (5, 3), (8, 2)]
    assert walk(10, 3, pictures=(Placed(2, rows(n=8, whole=True)),)) == [(0, 2), (2, 8)]
    assert next_rows(2, 10, 0, None, (Placed(2, rows(whole=True)),)) == 0


def test_a_step_ends_where_it_is_told_before_a_picture_and_inside_one():
    one = (Placed(50, rows(n=100)),)
    assert next_rows(0, 20, 512, None, one) == 20
    assert next_rows(60, 100, 512, None, one) == 40
    assert next_rows(32, 40, 512, 16, one) == 8
    assert next_rows(60, 200, 512, None, one) == 90


def test_batch_invariant_steps_end_where_they_always_do():
    picture = (Placed(3, rows(n=8)),)
    cuts = [at for at, _ in walk(20, 4, n_chunk=4, pictures=picture)]
    assert cuts == [0, 3, 4, 8, 11, 12, 16]
    assert next_rows(8, 20, 4, 4, picture) == 3  # whoever forks at a chunk's end goes on alike


def test_a_prefix_does_not_end_inside_a_picture_that_must_be_whole():
    whole, loose = (Placed(3, rows(n=4, whole=True)),), (Placed(3, rows(n=4)),)
    assert [whole_pictures(n, whole) for n in (2, 3, 4, 6, 7, 9)] == [2, 3, 3, 3, 7, 9]
    assert [whole_pictures(n, loose) for n in (2, 3, 4, 6, 7, 9)] == [2, 3, 4, 6, 7, 9]


def test_pictures_that_wait_are_bounded():
    check_held(Placed(0, rows(n_bytes=100 << 20)) for _ in range(5))
    with pytest.raises(Overloaded, match="629145600 bytes"):
        check_held(Placed(0, rows(n_bytes=100 << 20)) for _ in range(6))
