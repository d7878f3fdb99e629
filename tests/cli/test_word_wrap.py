import pytest

from edgellm.cli.word_wrap import WordWrap


def flowed(pieces, columns=10):
    wrap = WordWrap(lambda: columns)
    return "".join(wrap.feed(piece) for piece in pieces) + wrap.rest()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Once upon a time there", "Once upon\na time\nthere"),
        ("ten  chars", "ten  chars"),
        ("one\n\n  two", "one\n\n  two"),
        ("a line   \nends", "a line\nends"),
        ("an incomprehensible word", "an\nincomprehensible\nword"),
        ("早上好朋友们 and so on", "早上好朋友们 and so\non"),  # the terminal breaks it before 们
        ("e\u0301e\u0301e\u0301 abcdef", "e\u0301e\u0301e\u0301 abcdef"),
        ("", ""),
    ],
)
def test_lines_end_between_words_however_the_text_is_cut(text, shown):
    assert flowed([text]) == shown
    assert flowed(text) == shown
    for i in range(len(text)):
        assert flowed([text[:i], text[i:]]) == shown


def test_a_word_is_held_back_until_it_is_whole():
    wrap = WordWrap(lambda: 10)

    assert [wrap.feed(piece) for piece in ("Hel", "lo", " wor", "ld\n")] == [
        "", "", "Hello", "\nworld\n",
    ]  # fmt: skip


def test_a_block_of_code_keeps_its_lines():
    code = "```sh\ncp one two three\n```\nand so it goes"

    assert flowed([code]) == "```sh\ncp one two three\n```\nand so it\ngoes"


def test_a_terminal_that_grows_gets_longer_lines():
    widths = [10]
    wrap = WordWrap(lambda: widths[-1])
    shown = wrap.feed("Once upon a ")
    widths.append(80)

    assert shown + wrap.feed("time there was one ") == "Once upon\na time there was one"
