"""How one request is sampled: which samplers have any effect, and on how many tokens they work.

llama.cpp's chain (common/sampling.cpp: common_sampler_init) starts from the whole vocabulary. Most
of that is work for nothing: penalties touch only tokens that were written, and top-k leaves a
handful. So the chain is taken apart, where that changes no token: first what works on single
tokens, known by their ids; then the likeliest ones, found without sorting the others; then the rest
of the chain.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgellm.chat.messages import SamplerName, SamplingParams

Draw: TypeAlias = Literal["greedy", "dist", "mirostat", "mirostat_v2", "adaptive_p"]

MIN_TEMPERATURE = 1e-4  # below it counts as 0: logits divided by less are no numbers any more

_BY_ID = ("penalties", "dry")
# They never take the likeliest token away, so a greedy choice needs none of them.
_SPARES_THE_BEST = {"top_n_sigma", "top_k", "top_p", "min_p", "temperature"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Applied in this order: biases, `by_id`, the `n_top` likeliest, `chain`, the draw.

    `above`: the chain begins with min-p, so it need not see tokens that are less likely than this
    ratio of the likeliest.
    """

    by_id: tuple[SamplerName, ...]
    n_top: int | None  # None: all stay
    chain: tuple[SamplerName, ...]
    draw: Draw
    above: float | None = None


def recipe(params: SamplingParams) -> Recipe:
    is_cold = params.temperature < MIN_TEMPERATURE
    if params.mirostat:  # an order of its own, without penalties (common_sampler_init)
        draw: Draw = "mirostat" if params.mirostat == 1 else "mirostat_v2"
        return Recipe((), None, ("temperature",), "greedy" if is_cold else draw)
    active = [name for name in params.samplers if is_active(name, params)]
    n_by_id = next((i for i, name in enumerate(active) if name not in _BY_ID), len(active))
    by_id, others = tuple(active[:n_by_id]), active[n_by_id:]
    is_greedy = is_cold and params.dynatemp_range <= 0.0 and "temperature" in others
    if is_greedy and _SPARES_THE_BEST.issuperset(others):
        return Recipe(by_id, None, (), "greedy")
    draw = "adaptive_p" if "adaptive_p" in params.samplers else "dist"
    if others[:1] == ["top_k"]:
        return Recipe(by_id, params.top_k, tuple(others[1:]), draw)
    is_min_p_first = others[:1] == ["min_p"] and params.min_keep <= 1
    return Recipe(by_id, None, tuple(others), draw, params.min_p if is_min_p_first else None)


def is_active(name: SamplerName, params: SamplingParams) -> bool:
    """Whether it has any effect."""
    return _ACTIVE[name](params)


def uses_dry(params: SamplingParams) -> bool:
    """If it does, its sequence breakers are looked up in the whole vocabulary, which takes a
    while."""
    return not params.mirostat and "dry" in params.samplers and is_active("dry", params)


def _penalises(params: SamplingParams) -> bool:
    numbers = (params.repeat_penalty, params.frequency_penalty, params.presence_penalty)
    return bool(params.repeat_last_n) and numbers != (1.0, 0.0, 0.0)


def _dries(params: SamplingParams) -> bool:
    is_on = params.dry_multiplier != 0.0 and params.dry_base >= 1.0
    return is_on and bool(params.dry_penalty_last_n)


# Each as in llama.cpp's own (src/llama-sampler.cpp).
_ACTIVE: Mapping[SamplerName, Callable[[SamplingParams], bool]] = {
    "penalties": _penalises,
    "dry": _dries,
    "top_n_sigma": lambda params: params.top_n_sigma > 0.0,
    "top_k": lambda params: params.top_k > 0,
    "typ_p": lambda params: params.typical_p < 1.0,
    "top_p": lambda params: params.top_p < 1.0,
    "min_p": lambda params: params.min_p > 0.0,
    "xtc": lambda params: params.xtc_probability > 0.0 and params.xtc_threshold <= 0.5,
    "temperature": lambda params: params.temperature != 1.0 or params.dynatemp_range > 0.0,
    "adaptive_p": lambda params: False,  # it draws: it is no part of the chain
}
