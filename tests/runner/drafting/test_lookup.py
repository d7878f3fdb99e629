import random
import time

import pytest

from edgellm.runner.drafting.lookup import Lookup


def written(text, n_known=0):
    """The lookup after it saw the text grow, and the text as its sequence holds it."""
    lookup, tokens = Lookup(n_known), list(text[:n_known])
    lookup.chances(tokens, 1)
    for token in text[n_known:]:
        tokens.append(token)
        lookup.chances(tokens, 1)
    return lookup, tokens


def guesses(text, n, n_known=0):
    lookup, tokens = written(text, n_known)
    return lookup.guess(tokens, n) if lookup.chances(tokens, n) else ()


def test_what_followed_the_last_tokens_the_last_time_is_guessed():
    assert guesses([1, 2, 3, 4, 5, 6, 7, 9, 1, 2, 3, 4], 3) == (5, 6, 7)
    assert guesses([1, 2, 3, 9, 1, 2, 5, 9, 1, 2], 2) == (5, 9)


def test_the_longer_match_is_believed_before_a_later_shorter_one():
    assert guesses([1, 2, 3, 4, 5, 3, 4, 8, 0, 1, 2, 3, 4], 1, n_known=13) == (5,)


def test_a_loop_is_guessed_round_and_round():
    assert guesses([7, 1, 2, 3, 1, 2, 3], 7, n_known=7) == (1, 2, 3, 1, 2, 3, 1)


def test_nothing_is_guessed_where_nothing_repeats():
    assert guesses(list(range(50)), 4) == ()


@pytest.mark.parametrize("n_known", [0, 1, 7, 40, 80])
def test_it_is_the_same_whether_a_text_came_at_once_or_token_by_token(n_known):
    rng = random.Random(n_known)
    text = [rng.randint(0, 3) for _ in range(80)]
    lookup, tokens = written(text, n_known)
    at_once = Lookup(len(text))
    chances = at_once.chances(list(text), 4)
    assert bool(chances) == bool(lookup.chances(tokens, 4))


def test_chances_grow_with_guesses_that_come_true_and_fall_with_others():
    good, tokens = written([1, 2, 3, 4, 5, 6, 7, 8, 9] * 6)
    sure = good.chances(tokens, 3)
    assert sure == sorted(sure, reverse=True)
    assert sure[0] > 0.9
    bad, tokens = written([token for i in range(30) for token in (1, 2, 100 + i)][:-1])
    assert bad.chances(tokens, 1)[0] < 0.1


def test_a_long_prompt_is_taken_in_pieces_and_a_token_costs_microseconds():
    rng = random.Random(0)
    tokens = [rng.randint(0, 30_000) for _ in range(100_000)]
    lookup = Lookup(len(tokens))
    began_s = time.thread_time()
    lookup.chances(tokens, 8)
    assert time.thread_time() - began_s < 0.2  # a hundred times what it takes
    for _ in range(30):
        lookup.chances(tokens, 8)
    tokens += tokens[500:504]
    assert lookup.chances(tokens, 8)
    assert lookup.guess(tokens, 3) == tuple(tokens[504:507])


def test_the_index_is_the_same_whether_tokens_come_one_by_one_or_together():
    draw = random.Random(4)
    tokens = [draw.randrange(6) for _ in range(200)]
    one_by_one, together = Lookup(1), Lookup(1)
    for n in range(1, len(tokens) + 1):
        one_by_one._index(tokens[:n])
    together._index(tokens)
    assert one_by_one._after == together._after
