"""How far predictions reach around their middle: p10 and p90, from devices left out of the fit.

A part of scripts/fit_speed.py, which fits the middle.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from statistics import NormalDist
from typing import Final, Protocol

from published import Case

from edgellm.selector.speed.speed_profile import SpeedProfile, Spread


class Families(Protocol):
    """Which families the fit is about, and which a row's devices belong to."""

    backends: Mapping[str, str]
    families_of: Mapping[int, tuple[str, ...]]


_OWN_DEVICES: Final = 3  # from so many on a family's own quantiles count for half and more
_EVEN: Final = Spread(1.0, 1.0)
Pair = tuple[Case, float]  # and the logarithm of measured over predicted speed


@dataclass(frozen=True, slots=True)
class Spreads:
    families: Mapping[tuple[str, bool], Spread]  # (family, prompt)
    expert: Spread
    expert_prefill: Spread
    pipeline: Spread


def spreads(model: Families, pairs: Sequence[Pair]) -> Spreads:
    """p10 and p90 of measured over predicted speed.

    A device's rows count by the square root of their number. How far a new device may be off is
    known from devices, so a family of few leans on its backend, and that on everyone. All of that
    is widened by as much as devices overshoot what the others would have said of them; mixtures of
    experts and prompts through several cards widen it by as much as they overshoot it.
    """
    plain = [pair for pair in pairs if not pair[0].is_moe and not _is_pipeline(pair[0])]
    families = {}
    for prompt in (False, True):
        unseen = _of_unseen(model, [pair for pair in plain if pair[0].test.is_prompt is prompt])
        for name in model.backends:
            seen = _family_spread(model, plain, name, prompt=prompt)
            families[name, prompt] = seen.wider(unseen)

    def said(case: Case) -> Spread:
        name = _first_family(model, case)
        return families[name, case.test.is_prompt] if name else _EVEN

    def beyond(belongs: Callable[[Case], bool]) -> Spread:
        return _beyond([pair for pair in pairs if belongs(pair[0])], said)

    return Spreads(
        families,
        expert=beyond(lambda case: case.is_moe and not case.test.is_prompt),
        expert_prefill=beyond(
            lambda case: case.is_moe and case.test.is_prompt and not _is_pipeline(case)
        ),
        pipeline=beyond(lambda case: not case.is_moe and _is_pipeline(case)),
    )


def _is_pipeline(case: Case) -> bool:
    return case.test.is_prompt and case.row.n_devices > 1


def _family_spread(model: Families, pairs: Sequence[Pair], name: str, *, prompt: bool) -> Spread:
    rows = [pair for pair in pairs if pair[0].test.is_prompt is prompt]
    own = [pair for pair in rows if name in model.families_of[id(pair[0])]]
    alike = [pair for pair in rows if model.backends[name] in _backends_of(model, pair[0])]
    low, high = (_leant(own, q, _leant(alike, q, _quantile(rows, q))) for q in (0.1, 0.9))
    return Spread(min(exp(low), 0.92), max(exp(high), 1.08))


def _of_unseen(model: Families, pairs: Sequence[Pair]) -> Spread:
    """How far devices lie outside what is said of them without them."""
    known: dict[tuple[str, str], Spread] = {}

    def said(case: Case) -> Spread:
        name = _first_family(model, case)
        if name is None:
            return _EVEN
        if (case.device, name) not in known:
            others = [pair for pair in pairs if pair[0].device != case.device]
            spread = _family_spread(model, others, name, prompt=case.test.is_prompt)
            known[case.device, name] = spread
        return known[case.device, name]

    return _beyond(pairs, said)


def _beyond(pairs: Sequence[Pair], said: Callable[[Case], Spread]) -> Spread:
    reach = _reach(len({case.device for case, _ in pairs}))
    below = reach * _quantile([(case, off - log(said(case).low)) for case, off in pairs], 0.1)
    above = reach * _quantile([(case, off - log(said(case).high)) for case, off in pairs], 0.9)
    return Spread(min(exp(below), 1.0), max(exp(above), 1.0))


def _reach(n_devices: int) -> float:
    """How much further than the quantiles of so few devices one more may lie: Student's t over the
    normal distribution, both at 90 %. The expansion is Cornish and Fisher's."""
    z, free = NormalDist().inv_cdf(0.9), max(1, n_devices - 1)
    t = (
        z
        + (z**3 + z) / (4 * free)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    )
    return float(t / z * (1 + 1 / max(1, n_devices)) ** 0.5)


def _first_family(model: Families, case: Case) -> str | None:
    return next((name for name in model.families_of[id(case)] if name in model.backends), None)


def _leant(pairs: Sequence[Pair], q: float, upon: float) -> float:
    n_devices = len({case.device for case, _ in pairs})
    part = n_devices / (n_devices + _OWN_DEVICES)
    return part * _quantile(pairs, q) + (1 - part) * upon


def with_spreads(profile: SpeedProfile, found: Spreads) -> SpeedProfile:
    families = tuple(
        replace(
            row,
            spread=found.families[row.name, False],
            prefill_spread=found.families[row.name, True],
        )
        if (row.name, False) in found.families
        else row
        for row in profile.families
    )
    return replace(
        profile,
        families=families,
        expert_spread=found.expert,
        expert_prefill_spread=found.expert_prefill,
        pipeline_spread=found.pipeline,
    )


def _backends_of(model: Families, case: Case) -> set[str]:
    return {model.backends[name] for name in model.families_of[id(case)] if name in model.backends}


def _quantile(pairs: Sequence[tuple[Case, float]], q: float) -> float:
    if not pairs:
        return 0.0
    often = Counter(case.device for case, _ in pairs)
    ordered = sorted((off, 1 / often[case.device] ** 0.5) for case, off in pairs)
    wanted = q * sum(weight for _, weight in ordered)
    seen = 0.0
    for off, weight in ordered:
        seen += weight
        if seen >= wanted:
            return off
    return ordered[-1][0]
