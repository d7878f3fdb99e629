import pytest
from mask_fakes import Alphabet

from edgellm.runner.sampling.vocabulary import Vocabulary

ALPHABET = Alphabet(("<a>", "<a>b", "[x]"))
VOCABULARY = Vocabulary(ALPHABET.tokenizer, ALPHABET.n_vocab)


@pytest.mark.parametrize("text", ["", "abc", "<a>", "x<a>y[x]", "<a>b", "é<a>"])
def test_a_text_is_spelled_with_the_special_tokens_in_it(text):
    tokens = VOCABULARY.tokens(text)
    assert b"".join(map(VOCABULARY.piece, tokens)).decode() == text
    n_special = sum(token >= 256 for token in tokens)
    assert n_special == sum(text.count(mark) for mark in ("<a>", "[x]"))


def test_the_longest_special_token_is_meant():
    assert VOCABULARY.tokens("<a>b") == [257]


def test_one_token_is_told_from_many():
    assert VOCABULARY.token("\n") == 10
    assert VOCABULARY.token("<a>") == 256
    assert VOCABULARY.token("\n\n") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", 'm_0: "plain"\nu_0[suffix="plain"]: /(?s:.*)/'),
        ("<a>", "m_0: <[256]>\nu_0: /(?s:.*)/ <[256]>"),
        ("/<[x]>", 'm_0: "/<" <[258]> ">"\nu_0: /(?s:.*)\\/</ <[258]> ">"'),
        ("\n<a>", 'm_0: "\\n" <[256]>\nu_0: /(?s:.*)\\n/ <[256]>'),
    ],
)
def test_a_marker_is_defined_by_what_the_vocabulary_makes_of_it(text, expected):
    assert VOCABULARY.definition(0, text) == expected
