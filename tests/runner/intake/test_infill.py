"""The prompt that asks for what stands in the middle, and what of a long file goes into it."""

import pytest

from edgellm.errors import BadRequest
from edgellm.runner.intake.infill import FillMarks, fill_prompt
from edgellm.runner.messages import Infill

PRE, SUF, MID, REPO, FILE, BOS = 900, 901, 902, 903, 904, 905
PLAIN = FillMarks(PRE, SUF, MID)
FULL = FillMarks(PRE, SUF, MID, REPO, FILE, BOS)


def tokens(text):
    return list(text.encode())


def prompt(marks, n_ctx=1000, **asked):
    given = Infill(1, **({"prefix": "ab", "suffix": "yz"} | asked))
    return fill_prompt(given, marks, tokens, n_ctx)


def test_prefix_suffix_and_middle_stand_in_their_order():
    assert prompt(PLAIN) == [PRE, *b"ab", SUF, *b"yz", MID]


def test_the_beginning_of_the_middle_follows_the_prefix():
    assert prompt(PLAIN, prompt="c") == [PRE, *b"abc", SUF, *b"yz", MID]


def test_other_files_come_first_under_the_vocabularys_marks():
    told = prompt(FULL, extra=(("x.py", "text"),))
    assert told == [
        BOS, REPO, *b"myproject\n", FILE, *b"x.py\n", *b"text", FILE, *b"filename\n",
        PRE, *b"ab", SUF, *b"yz", MID,
    ]  # fmt: skip


def test_without_marks_for_files_a_line_parts_them():
    told = prompt(PLAIN, extra=(("x.py", "text"),))
    assert told == [*b"\n\n--- snippet ---\n\ntext", PRE, *b"ab", SUF, *b"yz", MID]


def test_of_a_long_file_the_prefix_keeps_its_end_and_the_suffix_its_beginning():
    told = prompt(PLAIN, 103, prefix="a" * 500 + "b", suffix="y" + "z" * 500, max_tokens=20)
    at = told.index(SUF)
    prefix, suffix = told[1:at], told[at + 1 : -1]
    assert (len(prefix), len(suffix)) == (60, 20)
    assert prefix[-1] == ord("b")
    assert suffix[0] == ord("y")


@pytest.mark.parametrize(
    ("prefix", "suffix", "lengths"),
    [("a" * 500, "yz", (78, 2)), ("ab", "z" * 500, (2, 78))],
)
def test_what_one_side_does_not_need_is_the_others(prefix, suffix, lengths):
    told = prompt(PLAIN, 103, prefix=prefix, suffix=suffix, max_tokens=20)
    at = told.index(SUF)
    assert (at - 1, len(told) - at - 2) == lengths


@pytest.mark.parametrize("n_ctx", [8, 20, 64, 300, 1000])
@pytest.mark.parametrize("max_tokens", [None, 1, 50, 10_000])
def test_there_is_always_room_for_an_answer(n_ctx, max_tokens):
    long = {"prefix": "a" * 2000, "suffix": "z" * 2000, "extra": (("x", "y" * 2000),)}
    for marks in (PLAIN, FULL):
        told = prompt(marks, n_ctx, max_tokens=max_tokens, **long)
        assert len(told) + min(max_tokens or 256, n_ctx // 2) <= n_ctx
        assert told[-1] == MID


def test_far_more_text_than_fits_is_not_even_tokenized():
    seen = []

    def counted(text):
        seen.append(len(text))
        return tokens(text)

    long = "a" * 1_000_000
    fill_prompt(Infill(1, long, long, (("x", long),)), PLAIN, counted, 100)
    assert max(seen) <= 100 * 16


def test_a_vocabulary_without_the_marks_cannot_be_asked():
    with pytest.raises(BadRequest, match="can't fill in the middle") as raised:
        prompt(None)
    assert raised.value.param == "model"
