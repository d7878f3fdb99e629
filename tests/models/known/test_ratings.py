import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import selector_specs as specs

from edgellm.models.known.catalog import find, load_catalog
from edgellm.models.known.ratings import (
    estimate,
    facts_of,
    kind_of,
    load_ratings,
    rated_facts,
    rating,
    rating_of_unknown,
    size_of,
)

KINDS = ("chat", "code")
by_kind = pytest.mark.parametrize("kind", KINDS)


def fit_script():
    path = Path(__file__).parents[3] / "scripts" / "fit_ratings.py"
    spec = importlib.util.spec_from_file_location("fit_ratings", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_says_where_from_and_when():
    table = load_ratings()

    assert "leaderboard-text-style-control.json" in table.source
    assert len({row.model for row in table.rated}) == len(table.rated)
    assert len({row.name for row in table.rated}) == len(table.rated)


def test_each_rated_model_is_one_of_the_catalog_or_says_its_size_and_age():
    known = {entry.name for entry in load_catalog()}
    for row in load_ratings().rated:
        assert (row.model in known) != (row.n_params is not None and row.released is not None)


@by_kind
def test_the_constants_are_what_the_script_fits(kind):
    fit = load_ratings().fit(kind)
    committed = [fit.at_0, fit.per_doubling, fit.per_doubling_2, fit.per_month]

    assert fit_script().fitted(rated_facts(), kind) == pytest.approx(committed, abs=0.02)


@by_kind
def test_eight_in_ten_models_that_are_left_out_lie_within_the_stated_spread(kind):
    errors = [abs(error) for error in fit_script().left_out(rated_facts(), kind)]
    within = [error <= load_ratings().fit(kind).spread for error in errors]

    assert sum(within) / len(within) >= 0.8
    assert max(errors) < 80


def test_a_published_rating_is_told_as_it_is():
    found = rating(find("gemma3:4b"), "chat")

    assert found.points == found.counted == 1302.8
    assert found.is_published
    assert found.released == "2025-03"


def test_what_is_not_rated_has_a_range_and_is_moved_by_its_kin():
    found = rating(find("qwen3:4b"), "chat")
    alone = estimate(replace(facts_of(find("qwen3:4b")), family=""), "chat", rated_facts())

    assert not found.is_published
    assert found.n_kin == 4
    assert found.counted == found.points > alone[0]  # Qwen3's others are better than expected


@by_kind
def test_a_new_small_model_is_expected_above_an_old_large_one_and_below_a_new_large_one(kind):
    points = [rating(find(name), kind).points for name in ("llama2:13b", "qwen3:4b", "qwen3:14b")]

    assert points == sorted(points)


def test_smaller_than_all_that_is_rated_counts_by_the_lower_end():
    found = rating(find("gemma3:270m"), "chat")

    assert found.is_beyond
    assert found.spread == 2 * load_ratings().chat.spread
    assert found.counted == found.points - found.spread


def test_the_trend_is_not_continued_beyond_the_newest_that_is_rated():
    newest = max(facts.months for _, facts in rated_facts())

    assert facts_of(find("qwen3.6:27b")).months == newest
    assert rating(find("qwen3.6:27b"), "chat").points == rating(find("qwen3.5:27b"), "chat").points


def test_one_that_was_not_taught_to_answer_is_expected_below_one_that_was():
    base, taught = rating(find("llama:7b"), "chat"), rating(find("llama2:7b"), "chat")

    assert base.is_base
    assert base.points < taught.points - 100


@by_kind
def test_a_file_that_nobody_knows_is_rated_by_its_size_with_a_wide_range(kind):
    small, large = (specs.dense(n_layers=n) for n in (16, 40))
    ratings = [rating_of_unknown(spec, kind) for spec in (small, large)]

    assert ratings[0].points < ratings[1].points
    for one in ratings:
        assert one.spread > 3 * load_ratings().fit(kind).spread
        assert one.released is None


def test_of_a_mixture_the_parameters_that_a_token_uses_count_too():
    assert size_of(30_000_000_000, 3_000_000_000) < size_of(30_000_000_000, 30_000_000_000)
    entry = find("qwen3:30b-a3b")
    assert 3.2e9 < entry.n_active_params < 3.5e9  # "3.3B activated"
    dense = find("qwen3:8b")
    assert dense.n_active_params == dense.n_params


def test_only_code_is_rated_as_code():
    assert [kind_of(use) for use in ("chat", "code", "agent", "batch", "stream")] == [
        "chat", "code", "chat", "chat", "chat",
    ]  # fmt: skip
