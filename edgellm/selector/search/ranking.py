"""Which of the options that fit is the best, for each objective.

    quality   the weights that lose least, then context, then speed
    speed     the fastest whose loss is acceptable; where none is, of the file that loses least
    energy    the fewest joules a token, by the boards' limits, whose loss is acceptable; boards
              that don't say what they draw come after those that do, the fastest first
    context   the longest conversation whose loss is acceptable, then as balanced
    balanced  one sum, in doublings: halving the context, or the pace below what the use needs,
              costs one point; a KLD of 1/16 costs one point; a first token twice as late as it
              should be costs half of one; pace beyond the need is worth a tenth, and where
              somebody waits, a first token earlier than need be a twentieth; twice as many
              devices cost a tenth

In the balanced objective a device that takes part has to bring something, for it is taken from
whatever else could run there, the processor no less than a card: context or pace that the use
lacks, or weights that lose clearly less. A plain cache instead of a quantized one, or a first token
that is early enough anyway, is not worth one more card.

Where throughput is asked for, or more streams than usual, the pace is that of all streams together,
and the need that of as many as the use wishes for. Only "quality" promises that more memory never
gives a worse file: the others may trade it for the speed of a card that could not hold the model
before.
"""

from math import inf, log2
from typing import assert_never

from edgellm.models.spec import ModelSpec
from edgellm.selector.plan import Goal, Range
from edgellm.selector.profiles import Profiles, Workload
from edgellm.selector.search.settings import Setting, wished_context, wished_parallel
from edgellm.values import frozen

_POINTS_PER_KLD = 16.0
_POINTS_PER_SPARE_DOUBLING = 0.1
_POINTS_PER_PARALLEL_DOUBLING = 0.5
_POINTS_PER_STREAM_DOUBLING = 0.1  # where throughput counts: it is in the pace already
_POINTS_PER_DELAY_DOUBLING = 0.5
_POINTS_PER_SPARE_HALVING = 0.05  # of the time to the first token
_POINTS_PER_DEVICE_DOUBLING = 0.1
_POINTS_OF_PLAIN_CACHE = 0.05  # a quantized cache has to buy something
_POINTS_OF_POOL = (
    0.05  # so have streams of their own: what is idle leaves those whole, or not at all
)
_POINTS_OF_OWN_STREAMS = 0.01  # where they are tried as the faster, and nobody knows by how much
_POINTS_OF_STUCK_POOL = -0.05  # and where they have nowhere to go, they slow whoever writes
_STEPS_PER_DOUBLING = 35  # 2 %: closer predictions count as equal

Rank = tuple[float, ...]


@frozen
class Pace:
    decode: Range  # tok/s, one stream
    ttft_s: Range  # the use's typical prompt, alone
    # All streams together; None where nobody asks for throughput. What an embedding model reads.
    batch: Range | None = None

    @property
    def throughput(self) -> float:
        return self.batch.p50 if self.batch else self.decode.p50


@frozen
class Merit:
    """What an option is judged by. A bound is a merit too: that of a placement not yet made."""

    spec: ModelSpec
    setting: Setting
    pace: Pace
    weight_kld: float
    kv_kld: float
    n_devices: int  # that compute; the CPU is one
    power_w: float | None
    is_stuck: bool = False  # one pool whose idle conversations have nowhere to go

    @property
    def kld(self) -> float:
        return self.weight_kld + self.kv_kld


def wants_throughput(goal: Goal, workload: Workload) -> bool:
    """Tokens of all streams together count more than one stream's. So they do where more streams
    were asked for by name than the use wishes for: nobody does that to leave them idle."""
    many = (goal.n_parallel or 1) > 1
    if goal.use == "batch" or (goal.objective in ("speed", "energy") and many):
        return True
    return (goal.n_parallel or 1) > workload.n_parallel


def wants_tensor_split(goal: Goal) -> bool:
    """Unasked. Many streams alone are no wish for speed at such a price."""
    many = (goal.n_parallel or 1) > 1
    return goal.use == "batch" or goal.objective == "speed" or (goal.objective == "energy" and many)


def rank(merit: Merit, goal: Goal, profiles: Profiles) -> Rank:
    """Greater is better. Merits of one goal only are comparable."""
    keeps_watts = float(goal.max_watts is None or merit.power_w is not None)
    return (keeps_watts, *_by_objective(merit, goal, profiles), -merit.n_devices)


def _by_objective(merit: Merit, goal: Goal, profiles: Profiles) -> Rank:
    points = balance(merit, goal, profiles.workload(goal.use))
    setting, pace = merit.setting, _steps(merit.pace.throughput)
    acceptable, lost = 1.0, 0.0
    if merit.kld > profiles.quality.acceptable_kld:
        acceptable, lost = 0.0, merit.weight_kld
    match goal.objective:
        case "quality":
            return (
                -merit.weight_kld, setting.n_ctx_seq, setting.n_parallel, -merit.kv_kld,
                merit.pace.throughput,
            )  # fmt: skip
        case "speed":
            return (acceptable, -lost, pace, points)
        case "energy":
            thrift = (0.0, pace)
            if merit.power_w:
                thrift = (1.0, -_steps(merit.power_w / merit.pace.throughput))
            return (acceptable, -lost, *thrift, points)
        case "context":
            return (acceptable, setting.n_ctx_seq, points)
        case "balanced":
            return (points,)
        case _:
            assert_never(goal.objective)


def balance(merit: Merit, goal: Goal, workload: Workload) -> float:
    spec, setting = merit.spec, merit.setting
    n_wished = wished_parallel(spec, goal, workload)
    context = log2(setting.n_ctx_seq / wished_context(spec, goal, workload))
    parallel = log2(setting.n_parallel / n_wished)
    if setting.embedding:
        context = parallel = 0.0
    if wants_throughput(goal, workload):
        lead = log2(merit.pace.throughput / (workload.decode_target_tok_s * n_wished))
        parallel *= _POINTS_PER_STREAM_DOUBLING
    else:
        lead = log2(merit.pace.decode.p50 / workload.decode_target_tok_s)
        parallel *= _POINTS_PER_PARALLEL_DOUBLING
    delay = _doublings(merit.pace.ttft_s.p50 / workload.ttft_target_s)
    if delay > 0:
        delay *= _POINTS_PER_DELAY_DOUBLING
    else:
        delay *= 0.0 if wants_throughput(goal, workload) else _POINTS_PER_SPARE_HALVING
    return (
        (lead if lead < 0 else _POINTS_PER_SPARE_DOUBLING * lead)
        + (_POINTS_OF_PLAIN_CACHE if merit.kv_kld == 0 else 0.0)
        + _points_of_layout(merit, workload)
        - delay
        + min(context, 0.0)
        + parallel
        - _POINTS_PER_DEVICE_DOUBLING * log2(max(merit.n_devices, 1))
        - _POINTS_PER_KLD * merit.kld
    )


def _points_of_layout(merit: Merit, workload: Workload) -> float:
    if merit.is_stuck:
        return _POINTS_OF_STUCK_POOL
    if not workload.kv_unified_if_slower:
        return 0.0 if merit.setting.kv_unified else _POINTS_OF_OWN_STREAMS
    return _POINTS_OF_POOL if merit.setting.kv_unified else 0.0


def _doublings(ratio: float) -> float:
    """In tenths, so that a first token that is a few per cent earlier buys nothing."""
    return int(10 * log2(ratio)) / 10 if ratio > 0 else 0.0


def _steps(value: float) -> float:
    return float(int(_STEPS_PER_DOUBLING * log2(value))) if 0 < value < inf else value
