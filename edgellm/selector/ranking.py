"""Which of the options that fit is the best, for each objective.

    quality   the weights that lose least, then context, then speed
    speed     the fastest whose loss is acceptable; energy too, because on one machine the joules of
              a token go with its seconds
    context   the longest conversation whose loss is acceptable, then as balanced
    balanced  one sum, in doublings: halving the context, or the pace below what the use needs,
              costs one point; a KLD of 1/16 costs one point; a first token twice as late as it
              should be costs half of one; pace beyond the need is worth a tenth

Only "quality" promises that more memory never gives a worse file: the others may trade it for the
speed of a card that could not hold the model before.
"""

from math import log2
from typing import assert_never

from edgellm.selector.options import Option
from edgellm.selector.plan import Goal
from edgellm.selector.profiles import Profiles, Workload
from edgellm.selector.settings import wished_context, wished_parallel

_POINTS_PER_KLD = 16.0
_POINTS_PER_SPARE_DOUBLING = 0.1
_POINTS_PER_PARALLEL_DOUBLING = 0.5
_POINTS_PER_DELAY_DOUBLING = 0.5
_POINTS_OF_PLAIN_CACHE = 0.05  # a quantized cache has to buy something
_SPEED_STEPS_PER_DOUBLING = 35  # 2 %: closer predictions count as equal

Rank = tuple[float, ...]


def rank(option: Option, goal: Goal, profiles: Profiles) -> Rank:
    """Greater is better. Options of one goal only are comparable."""
    points = balance(option, goal, profiles.workload(goal.use))
    acceptable = float(option.kld <= profiles.quality.acceptable_kld)
    setting = option.setting
    match goal.objective:
        case "quality":
            return (
                -option.weight_kld, setting.n_ctx_seq, setting.n_parallel,
                -option.kv_kld, option.pace.decode.p50,
            )  # fmt: skip
        case "speed" | "energy":
            pace = float(int(_SPEED_STEPS_PER_DOUBLING * log2(option.pace.decode.p50)))
            return (acceptable, pace if acceptable else -option.kld, points)
        case "context":
            return (acceptable, setting.n_ctx_seq, points)
        case "balanced":
            return (points,)
        case _:
            assert_never(goal.objective)


def balance(option: Option, goal: Goal, workload: Workload) -> float:
    spec, setting = option.candidate.spec, option.setting
    lead = log2(option.pace.decode.p50 / workload.decode_target_tok_s)
    pace = lead if lead < 0 else _POINTS_PER_SPARE_DOUBLING * lead
    ttft_s = workload.n_prompt / option.pace.prefill.p50
    delay = max(0.0, log2(ttft_s / workload.ttft_target_s))
    context = log2(setting.n_ctx_seq / wished_context(spec, goal, workload))
    parallel = log2(setting.n_parallel / wished_parallel(spec, goal, workload))
    cache = _POINTS_OF_PLAIN_CACHE if option.kv_kld == 0 else 0.0
    if setting.embedding:
        context = parallel = 0.0
    return (
        pace
        + cache
        - _POINTS_PER_DELAY_DOUBLING * delay
        + min(context, 0.0)
        + _POINTS_PER_PARALLEL_DOUBLING * parallel
        - _POINTS_PER_KLD * option.kld
    )
