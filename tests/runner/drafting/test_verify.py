from edgellm.runner.batch import Row, Sampled
from edgellm.runner.drafting.verify import sampled_rows


def verified(rows, said):
    """`said`: what each row's sampler would say. The tokens of each sequence, and who was asked."""
    asked = []

    def sample(seq_id, i):
        asked.append(i)
        return Sampled(abs(said[i]), ends=said[i] < 0, silent=False)

    batch = [Row(seq_id, pos, token, True) for pos, (seq_id, token) in enumerate(rows)]
    found = sampled_rows(batch, sample)
    return {seq_id: [new.token for new in tokens] for seq_id, tokens in found.items()}, asked


def test_guesses_are_taken_as_long_as_they_are_what_was_sampled():
    assert verified([(0, 5), (0, 6), (0, 7)], [6, 7, 8]) == ({0: [6, 7, 8]}, [0, 1, 2])
    assert verified([(0, 5), (0, 6), (0, 7)], [6, 9, 8]) == ({0: [6, 9]}, [0, 1])
    assert verified([(0, 5), (0, 6), (0, 7)], [9, 7, 8]) == ({0: [9]}, [0])


def test_a_sampler_is_never_asked_for_a_row_that_follows_on_a_wrong_guess():
    _, asked = verified([(0, 5), (0, 6), (1, 5), (2, 5), (2, 6)], [9, 0, 3, 6, 7])
    assert asked == [0, 2, 3, 4]


def test_nothing_comes_after_the_end_also_where_it_was_guessed():
    assert verified([(0, 5), (0, 2), (0, 7)], [-2, 7, 8]) == ({0: [2]}, [0])


def test_rows_of_a_prompt_are_not_sampled():
    rows = [Row(0, 0, 5, False), Row(0, 1, 6, True)]
    assert sampled_rows(rows, lambda seq_id, i: Sampled(i, False, False))[0][0].token == 1
