import pytest

from edgellm.chat.messages import SAMPLERS, SamplingParams
from edgellm.runner.sampling.recipe import Recipe, recipe, uses_dry

PLAIN = SamplingParams(top_k=0, top_p=1.0, min_p=0.0, temperature=1.0)


def params(**changes):
    fields = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0}
    return SamplingParams(**(fields | changes))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (SamplingParams(), Recipe((), 40, ("top_p", "min_p", "temperature"), "dist")),
        (PLAIN, Recipe((), None, (), "dist")),
        (SamplingParams(temperature=0), Recipe((), None, (), "greedy")),
        (SamplingParams(temperature=1e-6), Recipe((), None, (), "greedy")),
        (SamplingParams(temperature=0, top_n_sigma=1.0), Recipe((), None, (), "greedy")),
        (
            SamplingParams(temperature=0, repeat_penalty=1.1, dry_multiplier=0.8),
            Recipe(("penalties", "dry"), None, (), "greedy"),
        ),
        (params(top_k=9, repeat_penalty=1.1), Recipe(("penalties",), 9, (), "dist")),
        (params(top_k=9, top_n_sigma=1.0), Recipe((), None, ("top_n_sigma", "top_k"), "dist")),
        (params(top_p=0.9), Recipe((), None, ("top_p",), "dist")),
        (params(min_p=0.1), Recipe((), None, ("min_p",), "dist", above=0.1)),
        (params(min_p=0.1, min_keep=2), Recipe((), None, ("min_p",), "dist")),
        (params(top_k=9, min_p=0.1), Recipe((), 9, ("min_p",), "dist")),
        (params(mirostat=1, top_k=9), Recipe((), None, ("temperature",), "mirostat")),
        (params(mirostat=2), Recipe((), None, ("temperature",), "mirostat_v2")),
        (params(mirostat=2, temperature=0), Recipe((), None, ("temperature",), "greedy")),
        (params(samplers=(*SAMPLERS, "adaptive_p")), Recipe((), None, (), "adaptive_p")),
        (
            params(samplers=("top_k", "penalties"), top_k=9, repeat_penalty=1.1),
            Recipe((), 9, ("penalties",), "dist"),
        ),
    ],
)
def test_a_recipe_has_what_works_and_where(given, expected):
    assert recipe(given) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"xtc_probability": 0.5},  # it takes the likeliest away
        {"typical_p": 0.9},
        {"dynatemp_range": 0.5},  # the temperature is between 0 and 0.5
        {"samplers": ("top_k",)},  # nobody looks at the temperature
        {"samplers": ("top_k", "penalties", "temperature"), "repeat_penalty": 1.1},
    ],
)
def test_a_temperature_of_zero_is_not_always_greedy(changes):
    assert recipe(SamplingParams(temperature=0, **changes)).draw == "dist"


@pytest.mark.parametrize(
    ("changes", "is_used"),
    [
        ({"dry_multiplier": 0.8}, True),
        ({}, False),
        ({"dry_multiplier": 0.8, "dry_penalty_last_n": 0}, False),
        ({"dry_multiplier": 0.8, "mirostat": 2}, False),
        ({"dry_multiplier": 0.8, "samplers": ("top_k",)}, False),
    ],
)
def test_dry_is_used_where_it_does_something(changes, is_used):
    assert uses_dry(SamplingParams(**changes)) is is_used
