import numpy as np
import pytest

from edgellm.runner.sampling.preselect import at_least, likeliest, possible


def by_sorting(logits, k):
    """The definition: all of them sorted, equal ones by id, the forbidden left out."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    return [i for i in order if logits[i] > -np.inf][:k]


def rows():
    random = np.random.default_rng(5)
    for size in (1, 7, 64, 1408, 32_003):
        yield random.normal(size=size)
        yield random.integers(-3, 3, size=size)  # nearly all are equal to some other
        yield np.zeros(size)
        yield np.where(random.random(size) < 0.01, random.normal(size=size), -np.inf)
        yield np.where(random.random(size) < 0.5, random.integers(0, 9, size=size), -np.inf)
        yield np.arange(size)[::-1]


@pytest.mark.parametrize("k", [1, 2, 40, 256, 5000])
def test_the_likeliest_are_those_that_sorting_finds(k):
    for row in rows():
        logits = row.astype(np.float32)
        assert list(likeliest(logits, k)) == by_sorting(logits, k)


def test_what_is_no_number_is_never_likely():
    logits = np.full(1408, np.nan, dtype=np.float32)
    logits[[7, 900]] = 1.0, 2.0
    assert list(likeliest(logits, 40)) == [900, 7]
    assert list(possible(logits)) == [7, 900]


def test_nothing_is_likely_where_all_is_forbidden():
    logits = np.full(1408, -np.inf, dtype=np.float32)
    assert likeliest(logits, 40).size == 0
    assert possible(logits).size == 0


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.05, 1e-6])
def test_what_is_likely_enough_is_never_left_out(ratio):
    for row in rows():
        logits = row.astype(np.float32)
        peak = logits.max()
        if peak > -np.inf:
            enough = np.flatnonzero(np.exp(logits.astype(np.float64) - peak) >= ratio)
            found = at_least(logits, ratio)
            assert set(enough) <= set(found)
            assert (logits[found] >= peak + np.log(ratio) - 2e-4 * (1 + abs(peak))).all()


def test_nothing_is_likely_enough_where_all_is_forbidden():
    assert at_least(np.full(9, -np.inf, dtype=np.float32), 0.1).size == 0
    assert list(at_least(np.array([np.nan, 1, -np.inf], dtype=np.float32), 0.1)) == [1]
